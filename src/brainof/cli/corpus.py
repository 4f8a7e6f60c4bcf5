"""`brainof corpus`: inspect, verify, compact, merge, split, export a corpus, delete from it, and its quality page."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from . import out

EXAMPLE = """examples:
  brainof corpus info corpora/eegmat  # disk, windows, hours, subjects and epoch time per dataset
  brainof corpus verify corpora/eegmat  # read every byte; exit code 2 if anything is wrong
  brainof corpus compact corpora/eegmat  # one index file, so that it opens fast
  brainof corpus merge A B --out ALL  # copy the living windows of A and B into ALL
  brainof corpus split A --out PARTS --by subject --fraction 0.2  # PARTS/train and PARTS/validation
  brainof corpus delete A --subject eegmat/12  # by index; `merge` into a new folder frees the bytes
  brainof corpus export A --to braindecode-zarr --out ZARR --label state
  brainof corpus quality A  # quality.html: what was found, dropped and why (--out FILE.html)
  brainof corpus info s3://bucket/corpus  # any fsspec URL; shards are cached in $BRAINOF_CACHE
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=sorted(_ACTIONS), help="what to do")
    parser.add_argument("corpus", metavar="CORPUS", nargs="+", help="the folder that holds corpus.json, or a URL of it")
    where = "merge, split, export: the folder of the result; quality: the page (quality.html)"
    parser.add_argument("--out", metavar="PATH", help=where)
    parser.add_argument("--by", default="subject", help="split: subject (default), dataset or modality")
    parser.add_argument("--fraction", type=float, default=0.1, help="split: fraction of subjects for validation (0.1)")
    parser.add_argument("--seed", type=int, default=0, help="split: another seed gives another split")
    parser.add_argument("--to", default="braindecode-zarr", help="export: the format (braindecode-zarr)")
    parser.add_argument("--label", help="export: the label that becomes the target")
    for name, form in (("recording", "DATASET/RECORDING"), ("subject", "DATASET/SUBJECT"), ("dataset", "DATASET")):
        parser.add_argument(
            f"--{name}", metavar=form, action="append", default=[], help="delete: this, may be repeated"
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from ..corpus import Corpus
    from ..errors import ConfigError

    if len(args.corpus) > 1 and args.action != "merge":
        raise ConfigError(f"{args.action} takes one corpus", field="CORPUS", fix="`merge` takes several")
    if args.action in _NEED_OUT and not args.out:
        raise ConfigError("is required", field="--out", fix=f"say where {args.action} writes: --out DIR")
    if args.action == "merge":
        return _merge([Corpus(path) for path in args.corpus], args)
    return _ACTIONS[args.action](Corpus(args.corpus[0]), args)


def _info(corpus: Any, args: argparse.Namespace) -> int:
    from ..corpus.info import info

    found = info(corpus)
    if args.json:
        return _print(found)
    speed = found["megabytes_per_second"]
    out(
        f"{found['corpus']}: {found['windows']:,} windows of {found['subjects']:,} subjects "
        f"in {found['shards']:,} shards, {found['disk_megabytes']:,.1f} MB on disk (version {found['version']})"
    )
    columns = ["modality", "dataset", "view", "windows", "recordings", "subjects", "hours", "MB", "epoch", "channels"]
    columns += ["samples", "Hz"]
    rows = [
        [
            *(group[name] for name in ("modality", "dataset", "view")),
            *(f"{group[name]:,}" for name in ("windows", "recordings", "subjects")),
            f"{group['hours']:.2f}",
            f"{group['megabytes']:,.1f}",
            _time(group["epoch_seconds"]),
            _range(group["n_channels"]),
            _range(group["n_times"]),
            ", ".join(f"{rate:g}" for rate in group["sfreq"]),
        ]
        for group in found["groups"]
    ]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in [columns, *rows]:
        out("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    if speed:
        out(f"epoch: time to read every window once at the {speed:,.0f} MB/s measured here; training adds its own")
    for failure in found["failures"]:
        out(f"failed: {failure.get('recording')}: {failure.get('reason')}")
    for note in found["notes"]:
        out(f"note: {note}")
    return 0


def _verify(corpus: Any, args: argparse.Namespace) -> int:
    from ..corpus.maintenance import verify

    found = verify(corpus)
    code = 2 if found.problems else 0
    if args.json:
        return _print(dataclasses.asdict(found)) or code
    for problem in found.problems:
        out(f"problem: {problem}")
    for note in found.notes:
        out(f"note: {note}")
    verdict = f"{len(found.problems)} problems" if found.problems else "all as written"
    size = f"{found.windows:,} windows, {found.bytes / 1e6:,.1f} MB in {found.shards:,} shards"
    out(f"{corpus.folder}: {size}: {verdict}")
    return code


def _compact(corpus: Any, args: argparse.Namespace) -> int:
    from ..corpus.maintenance import compact

    done = compact(corpus)
    if args.json:
        return _print(done)
    out(f"{corpus.folder}: {done['windows']:,} windows of {done['shards']:,} shards in one index")
    for name, what in (
        ("written", "its index was missing and is written"),
        ("forgotten", "its files are gone; its windows are forgotten"),
        ("removed", "was left by a writer that died and is removed"),
    ):
        for item in done[name]:
            out(f"note: {item}: {what}")
    return 0


def _quality(corpus: Any, args: argparse.Namespace) -> int:
    from ..report.quality import summary, write_quality_page

    page = args.out or "quality.html"
    write_quality_page(corpus, page)
    found = summary(corpus.quality)
    if args.json:
        return _print({"page": page, **found})
    out(
        f"{page}: {found['recordings']:,} recordings of {found['people']:,} people, {found['hours']:.1f} h; "
        f"{found['in windows %']:.1f} % in windows, {found['channels dropped %']:.1f} % of channels dropped, "
        f"{len(corpus.failures)} failed"
    )
    return 0


def _merge(corpora: list[Any], args: argparse.Namespace) -> int:
    from ..corpus.copying import merge

    done = merge(corpora, args.out)
    if args.json:
        return _print(done)
    out(f"{args.out}: {done['windows']:,} windows of {done['recordings']:,} recordings in {done['shards']:,} shards")
    return 0


def _split(corpus: Any, args: argparse.Namespace) -> int:
    from ..corpus.copying import split

    done = split(corpus, args.out, args.by, args.fraction, args.seed)
    if args.json:
        return _print(done)
    for name, windows in done.items():
        out(f"{args.out}/{name}: {windows:,} windows")
    return 0


def _delete(corpus: Any, args: argparse.Namespace) -> int:
    from ..corpus.maintenance import delete

    done = delete(corpus, recordings=args.recording, subjects=args.subject, datasets=args.dataset)
    if args.json:
        return _print(done)
    gone = f"{done['deleted']:,} windows of {done['recordings']:,} recordings are gone"
    out(f"{corpus.folder}: {gone}, {done['windows']:,} windows are left")
    for name in done["before"]:
        out(f"note: {name} was deleted before")
    if done["deleted"]:
        out("note: their bytes stay in the shards until `brainof corpus merge` copies the rest into a new folder")
    return 0


def _export(corpus: Any, args: argparse.Namespace) -> int:
    from ..corpus.export import export

    stores = export(corpus, args.out, args.to, args.label)
    if args.json:
        return _print({"stores": stores})
    for store in stores:
        targets = f", targets {', '.join(store['targets'])}" if store["targets"] else ""
        out(f"{store['path']}: {store['windows']:,} windows of {store['recordings']:,} recordings{targets}")
    return 0


_ACTIONS: dict[str, Callable[[Any, argparse.Namespace], int]] = {
    "info": _info,
    "verify": _verify,
    "compact": _compact,
    "merge": _merge,
    "split": _split,
    "delete": _delete,
    "export": _export,
    "quality": _quality,
}
_NEED_OUT = ("merge", "split", "export")


def _print(values: dict[str, Any]) -> int:
    out(json.dumps(values, ensure_ascii=False))
    return 0


def _range(values: list[int]) -> str:
    low, high = values
    return f"{low}" if low == high else f"{low}-{high}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
