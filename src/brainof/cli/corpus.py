"""`brainof corpus`: inspect, verify and compact a corpus, and its quality page."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from . import out

EXAMPLE = """example:
  brainof corpus info corpora/eegmat          disk, windows, hours and people per dataset
  brainof corpus verify corpora/eegmat        read every byte; exit code 2 if anything is wrong
  brainof corpus compact corpora/eegmat       one index file, so that it opens fast
  brainof corpus quality corpora/eegmat       quality.html: what was found, dropped and why (--out FILE.html)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=sorted(_ACTIONS), help="what to do")
    parser.add_argument("corpus", metavar="CORPUS", help="the folder that holds corpus.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", default="quality.html", metavar="FILE.html", help="where quality writes its page")


def run(args: argparse.Namespace) -> int:
    from ..corpus import Corpus

    if args.action == "quality":
        return _quality(Corpus(args.corpus), args.json, args.out)
    return _ACTIONS[args.action](Corpus(args.corpus), args.json)


def _info(corpus, as_json: bool) -> int:
    found = corpus.info()
    if as_json:
        return _print(found)
    out(
        f"{found['corpus']}: {found['windows']:,} windows of {found['people']:,} people in {found['shards']:,} shards, "
        f"{found['disk_megabytes']:,.1f} MB on disk (version {found['version']})"
    )
    columns = ["modality", "dataset", "view", "windows", "recordings", "people", "hours", "channels", "samples", "Hz"]
    rows = [
        [
            *(group[name] for name in ("modality", "dataset", "view")),
            *(f"{group[name]:,}" for name in ("windows", "recordings", "people")),
            f"{group['hours']:.2f}",
            _range(group["n_channels"]),
            _range(group["n_times"]),
            ", ".join(f"{rate:g}" for rate in group["sfreq"]),
        ]
        for group in found["groups"]
    ]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in [columns, *rows]:
        out("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for failure in found["failures"]:
        out(f"failed: {failure.get('recording')}: {failure.get('reason')}")
    for note in found["notes"]:
        out(f"note: {note}")
    return 0


def _verify(corpus, as_json: bool) -> int:
    found = corpus.verify()
    code = 2 if found.problems else 0
    if as_json:
        return _print(dataclasses.asdict(found)) or code
    for problem in found.problems:
        out(f"problem: {problem}")
    for note in found.notes:
        out(f"note: {note}")
    verdict = f"{len(found.problems)} problems" if found.problems else "all as written"
    out(f"{corpus.root}: {found.windows:,} windows, {found.bytes / 1e6:,.1f} MB in {found.shards:,} shards: {verdict}")
    return code


def _compact(corpus, as_json: bool) -> int:
    done = corpus.compact()
    if as_json:
        return _print(done)
    out(f"{corpus.root}: {done['windows']:,} windows of {done['shards']:,} shards in one index")
    for name, what in (
        ("written", "its index was missing and is written"),
        ("forgotten", "its files are gone; its windows are forgotten"),
        ("removed", "was left by a writer that died and is removed"),
    ):
        for item in done[name]:
            out(f"note: {item}: {what}")
    return 0


def _quality(corpus, as_json: bool, path: str = "quality.html") -> int:
    from ..report.quality import summary, write_quality_page

    write_quality_page(corpus, path)
    found = summary(corpus.quality)
    if as_json:
        return _print({"page": path, **found})
    out(
        f"{path}: {found['recordings']:,} recordings of {found['people']:,} people, {found['hours']:.1f} h; "
        f"{found['in windows %']:.1f} % in windows, {found['channels dropped %']:.1f} % of channels dropped, "
        f"{len(corpus.failures)} failed"
    )
    return 0


_ACTIONS = {"info": _info, "verify": _verify, "compact": _compact, "quality": _quality}


def _print(values: dict[str, Any]) -> int:
    out(json.dumps(values, ensure_ascii=False))
    return 0


def _range(values: list[int]) -> str:
    low, high = values
    return f"{low}" if low == high else f"{low}-{high}"
