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
  ./run study accounting
  ./run study weights --root data --out runs/weights
  ./run study seeds --root data --out runs/weights seeds=3
  ./run study finetuning --root data models=[pretrained]"""


def _real(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .real import real

    return real(root, folder, out, changes=args.assignments)


def _simulated(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .simulated import simulated

    return simulated(folder, out, root=root if root.is_dir() else None, models=[args.model] if args.model else [])


def _fusion(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .fusion import Sizes, fusion

    return fusion(folder, out, sizes=Sizes().replaced(args.assignments, "fusion"))


def _decoder(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .decoder import Sizes, decoder

    return decoder(folder, out, root, sizes=Sizes().replaced(args.assignments, "decoder"))


def _accounting(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .accounting import accounting

    return accounting(root, folder, out, model=args.model or "per_output", seeds=1 if args.quick else 3)


def _leaderboard(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .leaderboard import leaderboard

    return leaderboard(folder, out, [Path(name) for name in args.results])


def _neighbours(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .neighbours import neighbours

    return neighbours(root, folder, out, model=args.model or "tiny")


def _weights(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .weights import weights

    return weights(root, folder, out, changes=args.assignments)


def _seeds(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .seeds import Sizes, seeds

    return seeds(root, folder, out, sizes=Sizes().replaced(args.assignments, "seeds"))


def _finetuning(root: Path, folder: Path, args: argparse.Namespace) -> Path:
    from .finetuning import Sizes, finetuning

    return finetuning(root, folder, out, sizes=Sizes().replaced(args.assignments, "finetuning"))


STUDIES: dict[str, Callable[[Path, Path, argparse.Namespace], Path]] = {
    "accounting": _accounting,
    "leaderboard": _leaderboard,
    "neighbours": _neighbours,
    "real": _real,
    "simulated": _simulated,
    "fusion": _fusion,
    "decoder": _decoder,
    "weights": _weights,
    "seeds": _seeds,
    "finetuning": _finetuning,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one study; returns the exit code."""
    parser = Parser(prog="./run study", epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=f"one of: {', '.join(STUDIES)}; or of arms.yaml (sampler, modalities, ...)")
    parser.add_argument("--root", default="../shared/data", help="folder of the recordings (../shared/data)")
    parser.add_argument(
        "--out", help="folder of all that the study makes (runs/NAME; those of arms.yaml share runs/studies)"
    )
    parser.add_argument("--model", help="run, release folder or preset (accounting, simulated, neighbours)")
    parser.add_argument("--quick", action="store_true", help="one draw of weights (accounting)")
    parser.add_argument("--results", nargs="+", default=[], help="folders of brainof-bench results (leaderboard)")
    takes_assignments(
        parser, "the pretraining recipe, sizes (fusion, decoder, seeds, finetuning), or a study of arms.yaml"
    )
    add_common_arguments(parser)
    parser.set_defaults(run=run)
    return guarded(parse(parser, sys.argv[1:] if argv is None else argv, takes=True))


def run(args: argparse.Namespace) -> int:
    from .arms import run_study, studies

    if args.name not in {**STUDIES, **studies()}:
        raise ConfigError(f"unknown study {args.name!r}", fix=did_you_mean(args.name, {**STUDIES, **studies()}))
    root, folder = Path(args.root), Path(args.out or f"runs/{args.name if args.name in STUDIES else 'studies'}")
    if args.name in STUDIES:
        page = STUDIES[args.name](root, folder, args)
    else:
        page = run_study(args.name, root, folder, out, args.assignments)
    out(f"open {page.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
