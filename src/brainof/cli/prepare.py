"""`brainof prepare`: recordings -> windows -> corpus, as a recipe says."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from . import ListAction, columns, out, parse_part, takes_assignments

EXAMPLE = """\
examples:
  brainof prepare --list
  brainof prepare eegmat --root data/eegmat --out corpus
  brainof prepare my_recipe.yaml --root data --out corpus windows.length=2 prepare.filter.high=40
  brainof prepare eegmat --root data/eegmat --out corpus --engine dask --workers 8 --memory 2GB
  brainof prepare eegmat --root data/eegmat --out corpus --engine slurm --workers 64 --queue normal --walltime 04:00:00
  brainof prepare eegmat --root data/eegmat --out corpus --part 3/16  # in a job array

Running it again prepares only what is missing or has changed. Exit code 2 when a recording failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    add("--list", action=ListAction, lines=_recipes, help="print all recipes, a line each")
    add("--root", required=True, metavar="DIR", help="folder of the dataset")
    add("--out", required=True, metavar="CORPUS", help="corpus to write to (made if absent)")
    add("--engine", metavar="NAME", help="serial, dask (this machine) or slurm (default: serial)")
    add("--workers", type=int, default=1, metavar="N", help="worker processes, or SLURM jobs")
    add("--memory", metavar="SIZE", help="memory per worker, such as 2GB; larger recordings go through the disk")
    for name in ("queue", "account", "walltime"):
        add(f"--{name}", help=f"{name} of the SLURM jobs (default: Dask's jobqueue.slurm settings)")
    add("--part", default="1/1", metavar="I/N", help="prepare the I-th of N parts")
    add("--limit", type=int, metavar="N", help="prepare at most N recordings, evenly spread")
    add("--subjects", metavar="A,B", help="only these subjects")
    add("--strict", action="store_true", help="refuse cut files and implausible amplitudes")
    add("--allow-failures", action="store_true", help="exit 0 even when recordings failed")
    takes_assignments(parser, "the recipe")


def run(args: argparse.Namespace) -> int:
    from ..datasets import find_recipe
    from ..datasets.engines import Engine
    from ..datasets.run import prepare
    from ..utils.memory import parse_bytes

    recipe = find_recipe(args.recipe)
    if args.assignments:
        recipe = recipe.replaced(args.assignments, args.recipe)
    name = args.engine or ("dask" if args.workers > 1 else "serial")
    memory = None if args.memory is None else parse_bytes(args.memory)
    engine = Engine(name, args.workers, memory, args.queue, args.account, args.walltime)
    summary = prepare(
        recipe,
        args.root,
        args.out,
        limit=args.limit,
        subjects=None if args.subjects is None else args.subjects.split(","),
        part=parse_part(args.part),
        strict=args.strict,
        engine=engine,
    )
    out(summary.text())
    return 0 if summary.complete or args.allow_failures else 2


def _recipes() -> Iterator[str]:
    from ..datasets.catalogue import recipes

    rows = [{"recipe": each.name, "modality": each.modality, "dataset": each.title} for each in recipes()]
    yield columns(rows)
