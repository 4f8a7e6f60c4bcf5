"""`brainof demo`."""

from __future__ import annotations

import argparse

from ..paths import user_path
from . import out, takes_assignments

EXAMPLE = """example:
  brainof demo --out runs/demo"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", help="folder for everything the demo makes (runs/demo)")
    parser.add_argument("--subjects", type=int, default=12, help="number of simulated subjects (12)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    takes_assignments(parser, "the pretraining recipe `demo`")


def run(args: argparse.Namespace) -> int:
    from ..demo import demo

    page = demo(user_path(args.out), out, subjects=args.subjects, seed=args.seed, changes=args.assignments)
    out(f"open {page.resolve()}")
    return 0
