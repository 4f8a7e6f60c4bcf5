"""Methods of a Corpus that concern all of it: info, verify, compact, delete."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ..errors import BrainOFError, ConfigError, CorpusError, did_you_mean
from ..utils.files import TEMPORARY, make_folder, write_json
from .folder import Folder
from .index import IDENTITY, LABEL, from_frame, write_index
from .index import subjects as subjects_of
from .shards import INDEX_SUFFIX

#: Windows read to measure the speed that epoch times are computed with, and the most seconds spent on it
PROBE, PROBE_SECONDS = 128, 2.0

#: Temporary files older than this were left by a writer that died (a living one renames its file within seconds)
STALE_SECONDS = 3600

_Result = TypeVar("_Result")


def corpus_info(corpus: Any) -> dict[str, Any]:
    """Disk, windows, hours and subjects, in all and per modality, dataset and view: plain values, ready for JSON.

    Views may cover the same time, so hours are per view. `epoch_seconds` is how long reading every window once takes on
    this machine, checked and as float32 batches, by the speed of a random sample of windows (`megabytes_per_second`,
    None where nothing could be read); training adds its own time.
    """
    labels = [name for name in corpus.column_names if name.startswith(LABEL)]
    names = ["dataset", "modality", "view", "subject", "recording", "n_channels", "n_times", "sfreq", *labels]
    index = corpus.columns(names)
    hours = index["n_times"] / index["sfreq"] / 3600
    megabytes = 2e-6 * index["n_channels"].astype(np.int64) * index["n_times"]
    table = index.assign(who=subjects_of(index), hours=hours, megabytes=megabytes)
    speed = read_speed(corpus)

    def counts(part: pd.DataFrame) -> dict[str, Any]:
        megabytes = float(part["megabytes"].sum())
        return {
            "windows": len(part),
            "subjects": int(part["who"].nunique()),
            "hours": round(float(part["hours"].sum()), 3),
            "epoch_seconds": None if speed is None else round(megabytes / speed, 3),
            "megabytes": round(megabytes, 3),
        }

    groups = [
        {
            "modality": str(modality),
            "dataset": str(dataset),
            "view": str(view),
            **counts(part),
            "recordings": int(part["recording"].nunique()),
            **{name: [int(part[name].min()), int(part[name].max())] for name in ("n_channels", "n_times")},
            "sfreq": sorted(float(rate) for rate in part["sfreq"].unique()),
            "labels": [name.removeprefix(LABEL) for name in labels if part[name].notna().any()],
        }
        for (modality, dataset, view), part in table.groupby(["modality", "dataset", "view"], observed=True)
    ]
    n_bytes = 0
    for path in () if corpus.remote else corpus.root.rglob("*"):
        with suppress(FileNotFoundError):  # renamed or removed by a writer meanwhile
            n_bytes += path.stat().st_size if path.is_file() else 0
    whole = counts(table)
    stored = whole.pop("megabytes")
    return {
        "corpus": str(corpus.folder),
        "version": corpus.version,
        "shards": len(corpus.shard_names()) or len(corpus.columns(["shard"])["shard"].cat.categories),
        **whole,
        "disk_megabytes": stored if corpus.remote else round(n_bytes / 1e6, 3),
        "megabytes_per_second": None if speed is None else round(speed, 1),
        "groups": groups,
        "failures": corpus.failures,
        "notes": corpus.notes,
    }


def read_speed(corpus: Any) -> float | None:
    """MB/s (of float16) of reading and casting a random sample; None if remote (whole shards would come) or damaged."""
    if corpus.remote or not len(corpus):
        return None
    rows = np.random.default_rng(0).permutation(len(corpus))[:PROBE].tolist()
    n_bytes, begun = 0, time.perf_counter()
    try:
        for row in rows:
            n_bytes += corpus.read(row).astype(np.float32).nbytes // 2
            if time.perf_counter() - begun > PROBE_SECONDS:
                break
    except BrainOFError:  # what is damaged is for `verify` to say
        return None
    return n_bytes / 1e6 / max(time.perf_counter() - begun, 1e-9)


@dataclass(frozen=True)
class Deletion:
    """Deleting by index: windows stay in their shards, and every reader leaves them out.

    A small file below `deleted/` names recordings and all shards that existed when it was made, so a recording that is
    prepared again later is in the corpus again. `merge` into a new folder leaves deleted bytes behind.
    """

    name: str
    recordings: frozenset[tuple[str, str, str]]  # (dataset, modality, recording)
    shards: frozenset[str]
    subjects: frozenset[str]  # As dataset/subject; empty in a file of version 1

    @classmethod
    def read(cls, folder: Folder, path: str) -> Deletion:
        """From a file of a corpus (CorpusError where it is damaged)."""
        values = folder.read_object(path)
        try:
            recordings = frozenset((str(a), str(b), str(c)) for a, b, c in values["recordings"])
            shards, subjects = (frozenset(map(str, values.get(key, ()))) for key in ("shards", "subjects"))
        except (KeyError, TypeError, ValueError):
            raise CorpusError("is damaged (not a deletion)", file=folder.where(path)) from None
        return cls(Path(path).name, recordings, shards, subjects)

    def applied(self, index: pd.DataFrame) -> pd.DataFrame:
        """The index without them."""
        rows = np.flatnonzero(index["shard"].isin(self.shards))
        if not len(rows):
            return index
        identities = zip(*(index[column].iloc[rows].astype(str) for column in IDENTITY), strict=True)
        gone = rows[[identity in self.recordings for identity in identities]]
        return index.iloc[np.delete(np.arange(len(index)), gone)]


@dataclass
class Verification:
    """What `verify` found: counts, problems (lost or wrong data, one line each) and notes (nothing is lost)."""

    shards: int = 0
    windows: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def attempt(self, action: Callable[..., _Result], *given: Any) -> _Result | None:
        """What an action gives, or None and its error among the problems."""
        try:
            return action(*given)
        except CorpusError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None


def verify(corpus: Any) -> Verification:
    """Compare every file that a reader may ask for with its checksum; damage is listed, and all beyond it read."""
    found, corpus = Verification(), corpus.reopened()
    merged = found.attempt(corpus.merged_index)
    digests: set[str] = set()
    for name in sorted({*corpus.shard_names(), *(merged.shards if merged else ())}):
        found.attempt(_verify_shard, corpus, name, found, digests)
    digests |= {Path(name).stem for name in corpus.folder.objects("channels")}
    for digest in sorted(digests):
        found.attempt(corpus.channels, digest)
    for kind in ("datasets", "deleted", "failures", "quality"):
        for name in corpus.folder.objects(kind):
            found.attempt(corpus.folder.read_object, name)
    found.attempt(lambda: corpus.index)
    found.attempt(lambda: corpus.datasets)
    left = [f"{path.name} was left by a writer that died, or is being written" for path in _temporary(corpus)]
    found.notes = [*corpus.notes, *left]
    return found


def _verify_shard(corpus: Any, name: str, found: Verification, digests: set[str]) -> None:
    shard, rows = corpus.shard(name), corpus.shard_index(name)
    found.shards += 1
    digests.update(rows["channel_set"].unique().to_pylist())
    columns = [rows[column].to_pylist() for column in ("key", "n_channels", "n_times", "crc32c", "recording")]
    for key, n_channels, n_times, checksum, recording in zip(*columns, strict=True):
        window = found.attempt(shard.checked, key, (n_channels, n_times), checksum, recording)
        if window is not None:
            found.windows += 1
            found.bytes += window.nbytes


def compact(corpus: Any) -> dict[str, Any]:
    """Write the indexes that are missing and merge all of them into index.parquet, so that the corpus opens fast.

    The merged index is made from the shards that are there; temporary files of dead writers are removed. Windows keep
    their row numbers. A corpus that is open elsewhere, or being appended to, is not disturbed.

    Returns the numbers of shards and windows, and the names of indexes that were written, of shards in the old merged
    index whose files are gone (forgotten) and of temporary files that were removed.

    Raises CorpusError: a shard without an index, or an index, cannot be read; StorageError: the corpus cannot be
    written.
    """
    root, corpus = corpus.root, corpus.reopened()
    deleted = [deletion.name for deletion in corpus.deletions]
    names, written = corpus.shard_names(), []
    for name in names:
        path = root / "shards" / f"{name}{INDEX_SUFFIX}"
        if not path.exists():
            write_index(path, corpus.shard(name).table(), [name])
            written.append(name)
    forgotten: list[str] = []
    with suppress(CorpusError):  # a damaged merged index is replaced, which is what compacting is for
        if merged := corpus.merged_index():
            forgotten = sorted(merged.shards - set(names))
    index = corpus.indexed(names)
    write_index(root / "index.parquet", from_frame(index), names, ordered=True, deleted=deleted)
    removed = []
    for path in _temporary(corpus):
        with suppress(FileNotFoundError):  # its writer renamed it meanwhile
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
                removed.append(path.name)
    done = {"shards": len(names), "windows": len(index)}
    return {**done, "written": written, "forgotten": forgotten, "removed": removed}


def delete(
    corpus: Any, *, recordings: Iterable[str] = (), subjects: Iterable[str] = (), datasets: Iterable[str] = ()
) -> dict[str, Any]:
    """Delete recordings by index and compact; the bytes stay until the corpus is merged into a new folder.

    What was deleted before may be named again: a script that is run twice does no harm. The corpus must be opened again
    to see it.

    Names are written `dataset/recording`, `dataset/subject` and `dataset`. Returns the numbers of recordings, deleted
    windows and windows that are left, and the names that were deleted before.

    Raises ConfigError: nothing was named; CorpusError: a name is not in the corpus and never was, or the corpus is
    remote; StorageError: the corpus cannot be written.
    """
    root, corpus = corpus.root, corpus.reopened()
    index = corpus.columns([*IDENTITY, "subject"])
    wanted = {"recording": set(recordings), "subject": set(subjects), "dataset": set(datasets)}
    if not any(wanted.values()):
        raise ConfigError("nothing to delete", field="delete", fix="name recordings, subjects or datasets")
    dataset, recording = (index[column].astype(str) for column in ("dataset", "recording"))
    names = {"recording": dataset + "/" + recording, "subject": subjects_of(index).astype(str), "dataset": dataset}
    gone_before = [identity for deletion in corpus.deletions for identity in deletion.recordings]
    earlier = {
        "recording": {f"{name}/{recording}" for name, _, recording in gone_before},
        "subject": {subject for deletion in corpus.deletions for subject in deletion.subjects},
        "dataset": {name for name, _, _ in gone_before},
    }
    gone, before = np.zeros(len(index), bool), []
    for level, values in wanted.items():
        known = set(names[level].unique())
        for value in sorted(values - known):
            if value not in earlier[level]:
                fix = did_you_mean(value, known)
                raise CorpusError(f"{value!r} is not in the corpus", file=root, field=level, fix=fix)
            before.append(value)
        gone |= names[level].isin(values).to_numpy()
    result = {"recordings": 0, "deleted": int(gone.sum()), "windows": len(index), "before": before}
    if not gone.any():
        return result
    identities = sorted(index.loc[gone, [*IDENTITY]].astype(str).drop_duplicates().itertuples(index=False, name=None))
    deletion = {
        "recordings": identities,
        "subjects": sorted(set(names["subject"][gone])),
        # an earlier version of a deleted recording must not come back in its place, so every shard of today is named
        "shards": corpus.shard_names(),
    }
    make_folder(root / "deleted")
    name = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}-{uuid.uuid4().hex[:8]}.json"
    write_json(root / "deleted" / name, deletion, checksum=True)
    return {**result, "recordings": len(identities), "windows": corpus.compact()["windows"]}


def _temporary(corpus: Any) -> list[Path]:
    return [] if corpus.remote else sorted(corpus.root.rglob(f".*{TEMPORARY}"))
