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
    parser.add_argument("recipe", metavar="RECIPE", help="name of a recipe, or a YAML file")
    parser.add_argument("--list", action=ListAction, lines=_recipes, help="print all recipes, a line each")
    parser.add_argument("--root", required=True, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--out", required=True, metavar="CORPUS", help="corpus to write to (made if absent)")
    parser.add_argument("--engine", metavar="NAME", help="serial, dask (this machine) or slurm (default: serial)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes, or SLURM jobs")
    parser.add_argument(
        "--memory", metavar="SIZE", help="memory per worker, such as 2GB; larger recordings go through the disk"
    )
    for name in ("queue", "account", "walltime"):
        parser.add_argument(f"--{name}", help=f"{name} of the SLURM jobs (default: Dask's jobqueue.slurm settings)")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="prepare the I-th of N parts")
    parser.add_argument("--limit", type=int, metavar="N", help="prepare at most N recordings, evenly spread")
    parser.add_argument("--subjects", metavar="A,B", help="only these subjects")
    parser.add_argument("--strict", action="store_true", help="refuse cut files and implausible amplitudes")
    parser.add_argument("--allow-failures", action="store_true", help="exit 0 even when recordings failed")
    takes_assignments(parser, "the recipe")


def run(args: argparse.Namespace) -> int:
    from ..datasets import find_recipe
    from ..datasets.engines import Engine
    from ..datasets.run import prepare
    from ..utils.memory import parse_bytes

    recipe = find_recipe(args.recipe)
    if args.assignments:
        recipe = recipe.replaced(args.assignments, args.recipe)
    engine = Engine(
        args.engine or ("dask" if args.workers > 1 else "serial"),
        args.workers,
        None if args.memory is None else parse_bytes(args.memory),
        args.queue,
        args.account,
        args.walltime,
    )
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
