"""What `brainof corpus` does to a whole corpus: verify, compact, delete."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, CorpusError, did_you_mean
from ..utils.files import TEMPORARY, make_folder, write_json
from .deletions import FOLDER, IDENTITY
from .index import from_frame
from .index import subjects as subject_of
from .index_file import write_index
from .shards import INDEX_SUFFIX, check_window
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


def delete(
    corpus: Corpus,
    *,
    recordings: Iterable[str] = (),
    subjects: Iterable[str] = (),
    datasets: Iterable[str] = (),
) -> dict[str, Any]:
    """Delete recordings by index and compact; the bytes stay until the corpus is merged into a new folder.

    Parameters
    ----------
    corpus : Corpus
        Opened again to see the result.
    recordings : iterable of str
        As `dataset/recording`.
    subjects : iterable of str
        People, as `dataset/subject`.
    datasets : iterable of str
        Names.

    Returns
    -------
    dict
        recordings and windows that are gone, windows that are left.

    Raises
    ------
    ConfigError
        Nothing was named.
    CorpusError
        A name is not in the corpus, or the corpus is remote.
    StorageError
        The corpus cannot be written.
    """
    root = corpus.root
    index = type(corpus)(root).index
    wanted = {"recording": list(recordings), "subject": list(subjects), "dataset": list(datasets)}
    if not any(wanted.values()):
        raise ConfigError("nothing to delete", field="delete", fix="name recordings, subjects or datasets")
    dataset = index["dataset"].astype(str)
    names = {
        "recording": dataset + "/" + index["recording"].astype(str),
        "subject": subject_of(index).astype(str),
        "dataset": dataset,
    }
    gone = np.zeros(len(index), bool)
    for level, values in wanted.items():
        known = set(names[level].unique()) if values else set()
        for value in values:
            if value not in known:
                raise CorpusError(
                    f"{value!r} is not in the corpus", file=root, field=level, fix=did_you_mean(value, known)
                )
        gone |= names[level].isin(values).to_numpy()
    rows = index[gone]
    identities = sorted(set(zip(*(rows[column].astype(str) for column in IDENTITY), strict=True)))
    # an earlier version of a deleted recording must not come back in its place, so every shard of today is named
    make_folder(root / FOLDER)
    name = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}-{uuid.uuid4().hex[:8]}.json"
    write_json(root / FOLDER / name, {"recordings": identities, "shards": corpus.shard_names()})
    done = compact(type(corpus)(root))
    return {"recordings": len(identities), "deleted": int(gone.sum()), "windows": done["windows"]}


def _temporary(corpus: Corpus) -> list[Path]:
    return [] if corpus.folder.remote else sorted(corpus.root.rglob(f".*{TEMPORARY}"))
