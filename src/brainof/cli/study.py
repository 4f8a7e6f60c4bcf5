"""`brainof study NAME`: slow studies, each from files to one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import ConfigError, did_you_mean
from . import out, takes_assignments

EXAMPLE = """example:
  brainof study real --root data --out runs/real
  brainof study real --root data --out runs/short steps=200
  brainof study objective --quick
  brainof study resolution --model runs/real/run"""

STUDIES = ("real", "objective", "resolution")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=f"one of: {', '.join(STUDIES)}")
    parser.add_argument("--root", default="../shared/data", help="folder of the recordings (../shared/data)")
    parser.add_argument("--out", help="folder for everything the study makes (runs/NAME)")
    parser.add_argument("--quick", action="store_true", help="a small part of the grid (objective)")
    parser.add_argument("--model", default="tiny", help="run or release folder, or preset (resolution)")
    parser.add_argument("--cells", default="", help="cells to run, separated by semicolons (objective)")
    takes_assignments(parser, "the pretraining recipe of the study")


def run(args: argparse.Namespace) -> int:
    if args.name not in STUDIES:
        raise ConfigError(f"unknown study {args.name!r}", fix=did_you_mean(args.name, STUDIES))
    if args.name == "objective":
        from ..studies.objective import objective

        folder = Path(args.out or "runs/objective")
        page = objective(Path(args.root), folder, out, changes=args.assignments, quick=args.quick, cells=args.cells)
        out(f"open {page.resolve()}")
        return 0
    if args.name == "resolution":
        from ..studies.resolution import resolution

        page = resolution(Path(args.root), Path(args.out or "runs/resolution"), out, model=args.model)
        out(f"open {page.resolve()}")
        return 0
    from ..studies.real import real

    page = real(Path(args.root), Path(args.out or f"runs/{args.name}"), out, changes=args.assignments)
    out(f"open {page.resolve()}")
    return 0
