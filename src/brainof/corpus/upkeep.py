"""What `brainof corpus` does to a whole corpus: verify, compact, info."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorpusError
from ..files import TEMPORARY
from .index import LABEL, VERSION, from_frame, people
from .index_file import write_index
from .shards import INDEX_SUFFIX, check_window

if TYPE_CHECKING:
    from .store import Corpus

#: Temporary files older than this were left by a writer that died (a living one renames its file within seconds)
STALE_SECONDS = 3600


@dataclass
class Verification:
    """What `verify` found: counts, problems (lost or wrong data, one line each) and notes (nothing is lost)."""

    shards: int = 0
    windows: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(corpus: Corpus) -> Verification:
    """Read every window and channel table and compare them with their checksums.

    Damage is listed, not raised, and what is beyond it is read all the same.
    """
    found = Verification()
    names = set(corpus.shard_names())
    try:
        names |= corpus.merged_index()[1]
    except CorpusError as error:
        found.problems.append(str(error))
    digests: set[str] = set()
    for name in sorted(names):
        try:
            _verify_shard(corpus, name, found, digests)
        except CorpusError as error:
            found.problems.append(str(error))
    for digest in sorted(digests):
        try:
            corpus.channels(digest)
        except CorpusError as error:
            found.problems.append(str(error))
    try:
        _ = corpus.datasets
    except CorpusError as error:
        found.problems.append(str(error))
    found.notes += corpus.notes
    found.notes += [f"{path.name} was left by a writer that died, or is being written" for path in _temporary(corpus)]
    return found


def _verify_shard(corpus: Corpus, name: str, found: Verification, digests: set[str]) -> None:
    shard = corpus.shard(name)
    rows = corpus.shard_index(name)
    found.shards += 1
    digests.update(rows["channel_set"].unique().to_pylist())
    columns = [rows[column].to_pylist() for column in ("key", "n_channels", "n_times", "crc32c", "recording")]
    for key, n_channels, n_times, checksum, recording in zip(*columns, strict=True):
        try:
            window = shard.window(key, (n_channels, n_times))
            check_window(window, checksum, shard.path, key, recording)
            found.windows += 1
            found.bytes += window.nbytes
        except CorpusError as error:
            found.problems.append(str(error))


def compact(corpus: Corpus) -> dict[str, Any]:
    """Write the indexes that are missing and merge all of them into index.parquet, so that the corpus opens fast.

    The merged index is made from the shards that are there; temporary files of dead writers are removed. Windows
    keep their row numbers. A corpus that is open elsewhere, or being appended to, is not disturbed.

    Returns
    -------
    dict
        shards, windows, written (indexes that were missing), forgotten (shards in the old merged index whose files
        are gone), removed (temporary files).

    Raises
    ------
    CorpusError
        A shard without an index, or an index, cannot be read.
    StorageError
        The corpus cannot be written.
    """
    fresh = type(corpus)(corpus.root)
    names = fresh.shard_names()
    written = []
    for name in names:
        path = fresh.root / "shards" / f"{name}{INDEX_SUFFIX}"
        if not path.exists():
            write_index(path, fresh.shard(name).table(), [name])
            written.append(name)
    try:
        forgotten = sorted(fresh.merged_index()[1] - set(names))
    except CorpusError:
        forgotten = []  # a damaged merged index is replaced, which is what compacting is for
    index = fresh.indexed(names)
    write_index(fresh.root / "index.parquet", from_frame(index), names)
    stale = [path for path in _temporary(fresh) if time.time() - path.stat().st_mtime > STALE_SECONDS]
    for path in stale:
        path.unlink(missing_ok=True)
    return {
        "shards": len(names),
        "windows": len(index),
        "written": written,
        "forgotten": forgotten,
        "removed": [path.name for path in stale],
    }


def info(corpus: Corpus) -> dict[str, Any]:
    """Disk, windows, hours and people, in all and per modality, dataset and view.

    Returns
    -------
    dict
        Plain values, ready for JSON. Views may cover the same time, so hours are per view.
    """
    index = corpus.index
    table = index.assign(
        person=people(index),
        hours=index["n_times"] / index["sfreq"] / 3600,
        megabytes=2e-6 * index["n_channels"].astype(np.int64) * index["n_times"],
    )
    labels = sorted(str(column) for column in index if str(column).startswith(LABEL))
    groups = []
    for (modality, dataset, view), part in table.groupby(["modality", "dataset", "view"], observed=True):
        groups.append(
            {
                "modality": str(modality),
                "dataset": str(dataset),
                "view": str(view),
                "windows": len(part),
                "recordings": int(part["recording"].nunique()),
                "people": int(part["person"].nunique()),
                "hours": round(float(part["hours"].sum()), 3),
                "megabytes": round(float(part["megabytes"].sum()), 3),
                "n_channels": [int(part["n_channels"].min()), int(part["n_channels"].max())],
                "n_times": [int(part["n_times"].min()), int(part["n_times"].max())],
                "sfreq": sorted(float(rate) for rate in part["sfreq"].unique()),
                "labels": [name.removeprefix(LABEL) for name in labels if part[name].notna().any()],
            }
        )
    return {
        "corpus": str(corpus.root),
        "version": VERSION,
        "shards": len(corpus.shard_names()),
        "windows": len(index),
        "people": int(table["person"].nunique()),
        "disk_megabytes": round(sum(_size(path) for path in corpus.root.rglob("*")) / 1e6, 3),
        "groups": groups,
        "failures": corpus.failures,
        "notes": corpus.notes,
    }


def _temporary(corpus: Corpus) -> list[Path]:
    return sorted(corpus.root.rglob(f".*{TEMPORARY}"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # renamed or removed by a writer meanwhile
        return 0
