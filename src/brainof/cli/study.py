"""`brainof study NAME`: slow studies, each from files to one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import ConfigError, did_you_mean
from . import out, takes_assignments

EXAMPLE = """example:
  brainof study real --root data --out runs/real
  brainof study real --root data --out runs/short steps=200
  brainof study simulated --model runs/real
  brainof study fusion people=24 steps=150"""

STUDIES = ("real", "simulated", "fusion", "decoder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=f"one of: {', '.join(STUDIES)}")
    parser.add_argument("--root", default="../shared/data", help="folder of the recordings (../shared/data)")
    parser.add_argument("--model", help="run or release folder that `simulated` scores beside the baselines")
    parser.add_argument("--out", help="folder for everything the study makes (runs/NAME)")
    takes_assignments(parser, "the pretraining recipe of `real`, or the sizes of `fusion` and `decoder`")


def run(args: argparse.Namespace) -> int:
    if args.name not in STUDIES:
        raise ConfigError(f"unknown study {args.name!r}", fix=did_you_mean(args.name, STUDIES))
    root, folder = Path(args.root), Path(args.out or f"runs/{args.name}")
    if args.name == "simulated":
        page = _simulated(root, folder, args.model)
    elif args.name == "fusion":
        from ..studies.fusion import Sizes, fusion

        page = fusion(folder, out, sizes=Sizes().replaced(args.assignments, "fusion"))
    elif args.name == "decoder":
        from ..studies import decoder as room

        page = room.decoder(folder, out, root, sizes=room.Sizes().replaced(args.assignments, "decoder"))
    else:
        from ..studies.real import real

        page = real(root, folder, out, changes=args.assignments)
    out(f"open {page.resolve()}")
    return 0


def _simulated(root: Path, folder: Path, model: str | None) -> Path:
    from ..release import load
    from ..studies.simulated import simulated

    models = {"model": load(model)[0]} if model else {}
    return simulated(folder, out, root=root if root.is_dir() else None, models=models)
