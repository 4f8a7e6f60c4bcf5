"""`./run study NAME`: a study of the whole path, from recordings to one page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from brainof.cli import Parser, add_common_arguments, guarded, out, parse, takes_assignments
from brainof.errors import ConfigError, did_you_mean

EXAMPLE = """example:
  ./run study real --root data --out runs/real
  ./run study real --root data --out runs/short steps=200
  ./run study simulated --model runs/real
  ./run study fusion people=24 steps=150
  ./run study objective --quick
  ./run study accounting"""


def _real(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .real import real

    return real(root, folder, out, changes=args.assignments)


def _simulated(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from brainof.release import load

    from .simulated import simulated

    models = {"model": load(args.model)[0]} if args.model else {}
    return simulated(folder, out, root=root if root.is_dir() else None, models=models)


def _fusion(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .fusion import Sizes, fusion

    return fusion(folder, out, sizes=Sizes().replaced(args.assignments, "fusion"))


def _decoder(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .decoder import Sizes, decoder

    return decoder(folder, out, root, sizes=Sizes().replaced(args.assignments, "decoder"))


def _objective(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .objective import objective

    return objective(root, folder, out, changes=args.assignments, quick=args.quick, cells=args.cells)


def _accounting(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .accounting import accounting

    return accounting(root, folder, out, model=args.model or "per_output", seeds=1 if args.quick else 3)


def _leaderboard(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .leaderboard import leaderboard

    return leaderboard(folder, out, [Path(name) for name in args.results])


STUDIES: dict[str, Callable[[Path, Path, argparse.Namespace], Path]] = {
    "accounting": _accounting,
    "leaderboard": _leaderboard,
    "real": _real,
    "simulated": _simulated,
    "fusion": _fusion,
    "decoder": _decoder,
    "objective": _objective,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one study; returns the exit code."""
    parser = Parser(prog="./run study", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=f"one of: {', '.join(STUDIES)}")
    parser.add_argument("--root", default="../shared/data", help="folder of the recordings (../shared/data)")
    parser.add_argument("--out", help="folder for everything the study makes (runs/NAME)")
    parser.add_argument("--model", help="run, release folder or preset (accounting, simulated)")
    parser.add_argument(
        "--quick", action="store_true", help="a small part of the grid (objective), one draw of weights (accounting)"
    )
    parser.add_argument("--results", nargs="+", default=[], help="folders of brainof-bench results (leaderboard)")
    parser.add_argument("--cells", default="", help="cells to run, separated by semicolons (objective)")
    takes_assignments(parser, "the pretraining recipe, or the sizes of `fusion` and `decoder`")
    add_common_arguments(parser)
    parser.set_defaults(run=run)
    return guarded(parse(parser, sys.argv[1:] if argv is None else argv, takes=True))


def run(args: argparse.Namespace) -> int:
    if args.name not in STUDIES:
        raise ConfigError(f"unknown study {args.name!r}", fix=did_you_mean(args.name, STUDIES))
    page = STUDIES[args.name](Path(args.root), Path(args.out or f"runs/{args.name}"), args)
    out(f"open {page.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
