"""What `brainof corpus` does to a whole corpus: verify and compact."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CorpusError
from ..files import TEMPORARY
from .index import from_frame
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
        merged = corpus.merged_index()
        names |= merged.shards if merged else set()
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
        merged = fresh.merged_index()
        forgotten = sorted(merged.shards - set(names)) if merged else []
    except CorpusError:
        forgotten = []  # a damaged merged index is replaced, which is what compacting is for
    index = fresh.indexed(names)
    deleted = [deletion.name for deletion in fresh.deletions]
    write_index(fresh.root / "index.parquet", from_frame(index), names, ordered=True, deleted=deleted)
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


def _temporary(corpus: Corpus) -> list[Path]:
    return [] if corpus.folder.remote else sorted(corpus.root.rglob(f".*{TEMPORARY}"))
