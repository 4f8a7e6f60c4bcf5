"""`brainof report`."""

from __future__ import annotations

import argparse
import shlex
import sys

from . import show

EXAMPLE = """\
examples:
  brainof report runs/first --out first.html
  brainof report runs/first runs/second explained --out both.html  # side by side, with explanations
  brainof report corpora/eegmat --out quality.html

A folder is what brainof pretrain, adapt, evaluate, explain or prepare wrote; a run that crashed or was not evaluated
makes a page too, which says so. The page is one file: it loads nothing and holds its numbers as JSON."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", metavar="RUN", nargs="+", help="run, adaptation, evaluation, explanation or corpus")
    parser.add_argument("--out", required=True, metavar="FILE.html", help="page to write")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from ..report.report import report

    page = report(args.folders, args.out, command=shlex.join(["brainof", *sys.argv[1:]]))
    megabytes = round(page.stat().st_size / 1e6, 2)
    return show(args, {"page": str(page), "megabytes": megabytes}, [f"{page}: {megabytes} MB"])
