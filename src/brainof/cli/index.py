"""`brainof index`: the BIDS datasets in a folder: subjects, sessions, tasks, recordings, and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ..utils.values import counted
from . import show

EXAMPLE = """examples:
  brainof index ds000117
  brainof index derivatives/fmriprep --json"""

#: names of subjects, sessions and tasks, and problems, that are printed
_NAMES, _PROBLEMS = 8, 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="a dataset, a derivative, or a folder of datasets")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from ..io.bids import index

    found = index(args.folder).summary()
    return show(args, found, ["\n\n".join("\n".join(_lines(d)) for d in found["datasets"])])


def _lines(dataset: dict[str, Any]) -> Iterator[str]:
    made_by = f", derivative by {', '.join(dataset['generated_by']) or 'an unnamed program'}"
    place = f"{dataset['path']}{made_by if dataset['derivative'] else ''}"
    yield f"{dataset['name']}  ({place}; {counted(dataset['files'], 'file')})"
    for key in ("subjects", "sessions", "tasks"):
        values = dataset[key]
        names = ", ".join(values[:_NAMES]) + (", ..." if len(values) > _NAMES else "")
        yield f"  {key:<10} {len(values)}" + (f": {names}" if values else "")
    if not dataset["forms"]:
        yield "  recordings 0"
    for form in dataset["forms"]:
        kinds = ("space", "resolution", "density", "description")
        details = " ".join(f"{kind} {form[kind]}" for kind in kinds if kind in form)
        yield f"  recordings {form['recordings']} {form['modality']} {form['extension']} {details}".rstrip()
    if dataset["ignored"]:
        yield f"  ignored    {counted(dataset['ignored'], 'file')} of subjects, by .bidsignore"
    problems = dataset["problems"]
    yield f"  problems   {len(problems)}" + (f" ({dataset['missing']} not downloaded)" if dataset["missing"] else "")
    yield from (f"    {problem['file']}: {problem['problem']}" for problem in problems[:_PROBLEMS])
    if len(problems) > _PROBLEMS:
        yield f"    and {len(problems) - _PROBLEMS} more (--json lists all)"
