"""`brainof corpus`: inspect, verify, compact, merge, split, export a corpus, delete from it, and its quality page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from typing import Any

from ..utils.values import counted
from . import out

EXAMPLE = """examples:
  brainof corpus info corpora/eegmat  # disk, windows, hours, subjects and epoch time per dataset
  brainof corpus verify corpora/eegmat  # read every byte; exit code 2 if anything is wrong
  brainof corpus compact corpora/eegmat  # one index file, so that it opens fast
  brainof corpus merge A B --out ALL  # copy the living windows of A and B into ALL
  brainof corpus split A --out PARTS --by subject --fraction 0.2  # PARTS/train and PARTS/validation
  brainof corpus delete A --subject eegmat/12  # by index; `merge` into a new folder frees the bytes
  brainof corpus export A --to braindecode-zarr --out ZARR --label state
  brainof corpus quality A  # A/quality.html: what was found, dropped and why (or --out FILE)
  brainof corpus info s3://bucket/corpus  # any fsspec URL; shards are cached in $BRAINOF_CACHE
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    action = {name: actions.add_parser(name, help=line, description=line) for name, (_, line) in _ACTIONS.items()}
    for name, command in action.items():
        many = "+" if name == "merge" else None
        command.add_argument("corpus", metavar="CORPUS", nargs=many, help="folder that holds corpus.json, or its URL")
        command.add_argument("--json", action="store_true", help="print one JSON object")
    for name in ("merge", "split", "export"):
        action[name].add_argument("--out", metavar="DIR", required=True, help="folder of the result")
    action["quality"].add_argument("--out", metavar="FILE", help="the page (quality.html in the corpus)")
    split, export, delete = action["split"], action["export"], action["delete"]
    split.add_argument("--by", default="subject", help="subject (default), dataset or modality")
    split.add_argument("--fraction", type=float, default=0.1, help="fraction of subjects for validation (0.1)")
    split.add_argument("--seed", type=int, default=0, help="random seed of the split (0)")
    export.add_argument("--to", default="braindecode-zarr", help="format of the result (braindecode-zarr)")
    export.add_argument("--label", help="the label that becomes the target")
    for name, form in (("recording", "DATASET/RECORDING"), ("subject", "DATASET/SUBJECT"), ("dataset", "DATASET")):
        delete.add_argument(f"--{name}", metavar=form, action="append", default=[], help="may be given several times")


def run(args: argparse.Namespace) -> int:
    from ..corpus import Corpus

    corpora = [Corpus(path) for path in args.corpus] if args.action == "merge" else Corpus(args.corpus)
    found, lines = _ACTIONS[args.action][0](corpora, args)
    for line in [json.dumps(found, ensure_ascii=False)] if args.json else lines:
        out(line)
    return 2 if args.action == "verify" and found["problems"] else 0


#: What `--json` prints, and the lines that are printed without it
Result = tuple[dict[str, Any], list[str]]


def _info(corpus: Any, args: argparse.Namespace) -> Result:
    import pandas as pd

    found = corpus.info()
    head = (
        f"{found['corpus']}: {counted(found['windows'], 'window')} of {counted(found['subjects'], 'subject')} "
        f"in {counted(found['shards'], 'shard')}, {found['disk_megabytes']:,.1f} MB (version {found['version']})"
    )
    rows = [
        {
            **{name: group[name] for name in ("modality", "dataset", "view")},
            **{name: f"{group[name]:,}" for name in ("windows", "recordings", "subjects")},
            "hours": f"{group['hours']:.2f}",
            "MB": f"{group['megabytes']:,.1f}",
            "epoch": _time(group["epoch_seconds"]),
            "channels": "-".join(map(str, dict.fromkeys(group["n_channels"]))),
            "samples": "-".join(map(str, dict.fromkeys(group["n_times"]))),
            "Hz": ", ".join(f"{rate:g}" for rate in group["sfreq"]),
        }
        for group in found["groups"]
    ]
    table = [pd.DataFrame(rows).to_string(index=False)] if rows else []
    speed = found["megabytes_per_second"]
    rate = f"{speed or 0:,.0f} MB/s"
    measured = f"epoch: time to read every window once at the {rate} measured here; training adds its own"
    failed = [f"failed: {failure.get('recording')}: {failure.get('reason')}" for failure in found["failures"]]
    return found, [head, *table, *([measured] if speed else []), *failed, *_notes(found["notes"])]


def _verify(corpus: Any, args: argparse.Namespace) -> Result:
    found = corpus.verify()
    verdict = counted(len(found.problems), "problem") if found.problems else "all as written"
    size = f"{counted(found.windows, 'window')}, {found.bytes / 1e6:,.1f} MB in {counted(found.shards, 'shard')}"
    problems = [f"problem: {problem}" for problem in found.problems]
    return vars(found), [*problems, *_notes(found.notes), f"{corpus.folder}: {size}: {verdict}"]


def _compact(corpus: Any, args: argparse.Namespace) -> Result:
    done = corpus.compact()
    what = {
        "written": "its index was missing and is written",
        "forgotten": "its files are gone; its windows are forgotten",
        "removed": "was left by a writer that died and is removed",
    }
    head = f"{corpus.folder}: {counted(done['windows'], 'window')} of {counted(done['shards'], 'shard')} in one index"
    return done, [head, *_notes(f"{item}: {words}" for name, words in what.items() for item in done[name])]


def _quality(corpus: Any, args: argparse.Namespace) -> Result:
    from ..report.quality import summary, write_quality_page

    page = args.out or ("quality.html" if corpus.remote else corpus.root / "quality.html")
    write_quality_page(corpus, page)
    found = summary(corpus.quality)
    line = (
        f"{page}: {counted(found['recordings'], 'recording')} of {counted(found['subjects'], 'subject')}, "
        f"{found['hours']:.1f} h; "
        f"{found['in windows %']:.1f} % in windows, {found['channels dropped %']:.1f} % of channels dropped, "
        f"{len(corpus.failures)} failed"
    )
    return {"page": page, **found}, [line]


def _merge(corpora: Any, args: argparse.Namespace) -> Result:
    from ..corpus.copying import merge

    done = merge(corpora, args.out)
    windows, recordings, shards = (counted(done[f"{noun}s"], noun) for noun in ("window", "recording", "shard"))
    return done, [f"{args.out}: {windows} of {recordings} in {shards}"]


def _split(corpus: Any, args: argparse.Namespace) -> Result:
    from ..corpus.copying import split

    done = split(corpus, args.out, args.by, args.fraction, args.seed)
    return done, [f"{args.out}/{name}: {counted(windows, 'window')}" for name, windows in done.items()]


def _delete(corpus: Any, args: argparse.Namespace) -> Result:
    done = corpus.delete(recordings=args.recording, subjects=args.subject, datasets=args.dataset)
    gone = f"deleted {counted(done['deleted'], 'window')} of {counted(done['recordings'], 'recording')}"
    notes = [f"{name} was deleted before" for name in done["before"]]
    if done["deleted"]:
        notes.append("their bytes stay in the shards until `brainof corpus merge` copies the rest into a new folder")
    return done, [f"{corpus.folder}: {gone}; {done['windows']:,} left", *_notes(notes)]


def _export(corpus: Any, args: argparse.Namespace) -> Result:
    from ..corpus.export import export

    stores, lines = export(corpus, args.out, args.to, args.label), []
    for store in stores:
        targets = f", targets {', '.join(store['targets'])}" if store["targets"] else ""
        windows, recordings = counted(store["windows"], "window"), counted(store["recordings"], "recording")
        lines.append(f"{store['path']}: {windows} of {recordings}{targets}")
    return {"stores": stores}, lines


_ACTIONS: dict[str, tuple[Callable[[Any, argparse.Namespace], Result], str]] = {
    "info": (_info, "size, windows, hours, subjects and reading time of each dataset"),
    "verify": (_verify, "read every byte and compare it with its checksum; exit code 2 if anything is wrong"),
    "quality": (_quality, "one HTML page: what was found, dropped and why"),
    "compact": (_compact, "write one index file, so that the corpus opens fast"),
    "merge": (_merge, "copy the windows of several corpora into one; deleted windows stay behind"),
    "split": (_split, "copy into DIR/train and DIR/validation, by subject, dataset or modality"),
    "delete": (_delete, "delete recordings, subjects or datasets (`merge` into a new folder frees their bytes)"),
    "export": (_export, "write the windows in another format"),
}


def _notes(notes: Iterable[str]) -> list[str]:
    return [f"note: {note}" for note in notes]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
