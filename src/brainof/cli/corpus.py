"""`brainof corpus`: inspect, verify, compact, merge, split, export a corpus, delete from it, and its quality page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
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
    if args.action in ("merge", "split", "export") and not args.out:
        raise ConfigError("is required", field="--out", fix=f"say where {args.action} writes: --out DIR")
    corpora = [Corpus(path) for path in args.corpus]
    found, lines = _ACTIONS[args.action](corpora if args.action == "merge" else corpora[0], args)
    for line in [json.dumps(found, ensure_ascii=False)] if args.json else lines:
        out(line)
    return 2 if args.action == "verify" and found["problems"] else 0


#: What `--json` prints, and the lines that are printed without it
Result = tuple[dict[str, Any], list[str]]


def _info(corpus: Any, args: argparse.Namespace) -> Result:
    found = corpus.info()
    head = (
        f"{found['corpus']}: {found['windows']:,} windows of {found['subjects']:,} subjects "
        f"in {found['shards']:,} shards, {found['disk_megabytes']:,.1f} MB on disk (version {found['version']})"
    )
    columns = ("modality", "dataset", "view", "windows", "recordings", "subjects", "hours", "MB", "epoch", "channels")
    rows = [[*columns, "samples", "Hz"]]
    for group in found["groups"]:
        row = [
            *(group[name] for name in ("modality", "dataset", "view")),
            *(f"{group[name]:,}" for name in ("windows", "recordings", "subjects")),
            f"{group['hours']:.2f}",
            f"{group['megabytes']:,.1f}",
            _time(group["epoch_seconds"]),
            *("-".join(map(str, dict.fromkeys(group[name]))) for name in ("n_channels", "n_times")),
            ", ".join(f"{rate:g}" for rate in group["sfreq"]),
        ]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    speed = found["megabytes_per_second"]
    measured = (
        f"epoch: time to read every window once at the {speed or 0:,.0f} MB/s measured here; training adds its own"
    )
    failed = [f"failed: {failure.get('recording')}: {failure.get('reason')}" for failure in found["failures"]]
    return found, [head, *table, *([measured] if speed else []), *failed, *_notes(found["notes"])]


def _verify(corpus: Any, args: argparse.Namespace) -> Result:
    found = corpus.verify()
    verdict = f"{len(found.problems)} problems" if found.problems else "all as written"
    size = f"{found.windows:,} windows, {found.bytes / 1e6:,.1f} MB in {found.shards:,} shards"
    problems = [f"problem: {problem}" for problem in found.problems]
    return vars(found), [*problems, *_notes(found.notes), f"{corpus.folder}: {size}: {verdict}"]


def _compact(corpus: Any, args: argparse.Namespace) -> Result:
    done = corpus.compact()
    what = {
        "written": "its index was missing and is written",
        "forgotten": "its files are gone; its windows are forgotten",
        "removed": "was left by a writer that died and is removed",
    }
    head = f"{corpus.folder}: {done['windows']:,} windows of {done['shards']:,} shards in one index"
    return done, [head, *_notes(f"{item}: {words}" for name, words in what.items() for item in done[name])]


def _quality(corpus: Any, args: argparse.Namespace) -> Result:
    from ..report.quality import summary, write_quality_page

    page = args.out or "quality.html"
    write_quality_page(corpus, page)
    found = summary(corpus.quality)
    line = (
        f"{page}: {found['recordings']:,} recordings of {found['people']:,} people, {found['hours']:.1f} h; "
        f"{found['in windows %']:.1f} % in windows, {found['channels dropped %']:.1f} % of channels dropped, "
        f"{len(corpus.failures)} failed"
    )
    return {"page": page, **found}, [line]


def _merge(corpora: Any, args: argparse.Namespace) -> Result:
    from ..corpus.copying import merge

    done = merge(corpora, args.out)
    counts = f"{done['windows']:,} windows of {done['recordings']:,} recordings in {done['shards']:,} shards"
    return done, [f"{args.out}: {counts}"]


def _split(corpus: Any, args: argparse.Namespace) -> Result:
    from ..corpus.copying import split

    done = split(corpus, args.out, args.by, args.fraction, args.seed)
    return done, [f"{args.out}/{name}: {windows:,} windows" for name, windows in done.items()]


def _delete(corpus: Any, args: argparse.Namespace) -> Result:
    done = corpus.delete(recordings=args.recording, subjects=args.subject, datasets=args.dataset)
    gone = f"{done['deleted']:,} windows of {done['recordings']:,} recordings are gone"
    notes = [f"{name} was deleted before" for name in done["before"]]
    if done["deleted"]:
        notes.append("their bytes stay in the shards until `brainof corpus merge` copies the rest into a new folder")
    return done, [f"{corpus.folder}: {gone}, {done['windows']:,} windows are left", *_notes(notes)]


def _export(corpus: Any, args: argparse.Namespace) -> Result:
    from ..corpus.export import export

    stores, lines = export(corpus, args.out, args.to, args.label), []
    for store in stores:
        targets = f", targets {', '.join(store['targets'])}" if store["targets"] else ""
        lines.append(f"{store['path']}: {store['windows']:,} windows of {store['recordings']:,} recordings{targets}")
    return {"stores": stores}, lines


_ACTIONS: dict[str, Callable[[Any, argparse.Namespace], Result]] = {
    "info": _info,
    "verify": _verify,
    "compact": _compact,
    "merge": _merge,
    "split": _split,
    "delete": _delete,
    "export": _export,
    "quality": _quality,
}


def _notes(notes: Iterable[str]) -> list[str]:
    return [f"note: {note}" for note in notes]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
