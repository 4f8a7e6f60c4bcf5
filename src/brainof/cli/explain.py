"""`brainof explain`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ..errors import ConfigError, in_options
from ..paths import user_path
from ..utils.files import make_folder, read_json
from ..utils.values import counted
from . import out, say
from .info import add_contract_arguments, add_read_arguments, read_file, read_options, without_later_parts

EXAMPLE = """\
examples:
  brainof explain runs/first rest.edf --out explained
  brainof explain runs/first corpora/eegmat --task eegmat/arithmetic --out explained --what channel band embedding
  brainof explain tiny rest.edf --out untrained  # a preset: random weights

DIR holds explain.html, one PNG per map, and explain.json with all numbers. Every map stands beside its nulls: the same
architecture with random weights, and permuted labels where there are labels. Maps: channel, region, network, time and
band (occlusion), gradient, attention, dint, experts, reconstruction, embedding, similarity, shapley."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="preset (random weights), run folder, release folder or Hub id")
    add("source", metavar="FILE|CORPUS", nargs="+", help="recordings, or one corpus folder")
    add("--out", required=True, metavar="DIR", help="folder to write")
    add("--what", nargs="+", metavar="MAP", help="maps to make (default: all)")
    add("--task", metavar="NAME", help="a task of the corpus (dataset/task); 'none' explains without labels")
    add("--windows", type=int, default=100, metavar="N", help="use at most this many windows per dataset (100)")
    add(
        "--untrained", type=int, default=2, metavar="N", help="number of models with random weights to compare with (2)"
    )
    add("--permutations", type=int, default=200, metavar="N", help="number of permutations of the labels (200)")
    add("--umap", action="store_true", help="also draw embeddings with UMAP (needs the extra `explain`)")
    add("--seed", type=int, default=0, help="random seed (0)")
    add_contract_arguments(parser)
    add_read_arguments(parser.add_argument_group("how to read the files, where they do not say"))


def _refuse_others(folder: Path, model: str, source: list[str]) -> None:
    """ConfigError where the folder holds maps of another model or source: they would be replaced."""
    from ..report.explanations import FILE

    if (folder / FILE).exists():
        held = read_json(folder / FILE)
        for field, now in (("model", [model]), ("source", source)):
            before = held.get(field, now)
            before = [before] if isinstance(before, str) else before
            if [Path(name).resolve() for name in before] != [Path(name).resolve() for name in now]:
                problem = f"holds maps of {field} {' '.join(before)}, not {' '.join(now)}"
                raise ConfigError(problem, file=folder, field="out", fix="give another --out")


def run(args: argparse.Namespace) -> int:
    from ..corpus import Corpus
    from ..explain.run import WHAT, explain
    from ..release import load
    from ..report.explanations import write_explanations
    from ..report.report import report

    for name, least in (("windows", 2), ("untrained", 0), ("permutations", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"{getattr(args, name)}", field=name, fix=f"give {least} or more")
    model, contract = load(args.model, seed=args.seed)
    source: object
    if len(args.source) == 1 and (Path(args.source[0]) / "corpus.json").is_file():
        source = Corpus(args.source[0])
    else:
        options = read_options(args)
        files = without_later_parts(args.source)
        source = [read_file(file, args, options) for file in files]
        for file, recording in zip(files, source, strict=True):
            for note in recording.notes:
                say(f"{file}: {in_options(note, args.options)}")
    if contract is None:
        say(f"{args.model} is a preset: its weights are RANDOM, no map can beat random weights")
    folder = user_path(args.out)
    _refuse_others(folder, args.model, args.source)
    make_folder(folder)  # before the work, which may take hours
    command = shlex.join(["brainof", *sys.argv[1:]])
    found = explain(
        model,
        source,
        what=args.what or WHAT,
        task=args.task,
        most=args.windows,
        n_untrained=args.untrained,
        n_permutations=args.permutations,
        umap=args.umap,
        random_state=args.seed,
        say=say,
        contract=contract,
        accept=args.accept,
        window_seconds=args.window,
        run=args.model,
    )
    made = write_explanations(found, folder, model=args.model, source=args.source, seed=args.seed, command=command)
    for each in made:
        if hasattr(each, "verdict"):
            out(f"{type(each).__name__}{f' by {each.by}' if hasattr(each, 'by') else ''}: {each.verdict}")
    page = report([folder], folder / "explain.html", command=command, title=f"What a model uses: {args.model}")
    out(f"{page}: {counted(len(made), 'map')}")
    return 0
