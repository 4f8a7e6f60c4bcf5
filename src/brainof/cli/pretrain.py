"""`brainof pretrain`."""

from __future__ import annotations

import argparse

EXAMPLE = """example:
  brainof pretrain tiny --corpus corpus --out runs/first steps=400 sampling.weights.eegmat=0.5
  brainof pretrain my_recipe.yaml --corpus corpus_eeg corpus_fmri --out runs/joint"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file, or the name of a shipped recipe (tiny)")
    parser.add_argument("--corpus", nargs="+", required=True, help="corpora to train on, all together")
    parser.add_argument("--out", required=True, help="run folder; an existing run is continued where it stands")
    parser.add_argument("assignments", nargs="*", metavar="key=value", help="changes to the recipe")


def run(args: argparse.Namespace) -> int:
    from ..pretraining import find_config, pretrain
    from . import out

    corpora = [path for path in args.corpus if "=" not in path]
    changes = [*args.assignments, *(path for path in args.corpus if "=" in path)]
    config = find_config(args.recipe).replaced(changes, file=args.recipe)
    folder = pretrain(config, corpora, args.out)
    out(f"{folder}: done; use it with `brainof embed FILE --model {folder} --out embeddings.parquet`")
    return 0
