"""`brainof pretrain`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator

from . import ListAction, out, takes_assignments

EXAMPLE = """examples:
  brainof pretrain --list
  brainof pretrain per_output --corpus corpus --out runs/first steps=400 sampling.weights.eegmat=0.5
  brainof pretrain published+softmax --corpus corpus --out runs/softmax
  brainof pretrain my_recipe.yaml --corpus corpus_eeg corpus_fmri --out runs/joint"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", help="a YAML file, or the name of a shipped recipe (per_output), with ablations: published+dense")
    add("--list", action=ListAction, lines=_recipes, help="print recipes and ablations, a line each")
    add("--corpus", nargs="+", required=True, help="corpora to train on, all together")
    add("--out", required=True, help="run folder; an existing run is continued where it stands")
    add("--accept", nargs="+", default=[], metavar="FIELD", help="settings that a continued run may change")
    takes_assignments(parser, "the recipe")


def run(args: argparse.Namespace) -> int:
    from ..pretraining import find_config, pretrain
    from ..release.load import record_of

    if not sys.stderr.isatty() and os.environ.get("RANK", "0") == "0":  # a job's log, which has no bar
        logging.getLogger("brainof.pretraining").setLevel(logging.INFO)
    config = find_config(args.recipe).replaced(args.assignments, file=args.recipe)
    folder = pretrain(config, args.corpus, args.out, args.accept)
    if os.environ.get("RANK", "0") != "0":
        return 0  # the first rank speaks for all
    if (folder / "release").is_dir() and "trial" in record_of(folder):
        out(f"{folder}: done, as a trial: nothing was learned, and the release says so")
    elif (folder / "release").is_dir():
        out(f"{folder}: done; use it with `brainof embed FILE --model {folder} --out embeddings.parquet`")
    else:
        out(f"{folder}: asked to stop, and saved; the same command continues it")
    return 0


def _recipes() -> Iterator[str]:
    from ..pretraining.recipes import lines

    return lines()
