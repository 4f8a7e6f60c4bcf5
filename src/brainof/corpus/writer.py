"""CorpusWriter: windows of whole recordings -> shards that are complete or absent."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from ..channels import Channels
from ..errors import CorpusError, StorageError
from ..paths import user_path
from ..utils.checksum import crc32c
from ..utils.files import make_folder, write_json
from ..utils.memory import empty, release
from .folder import Folder
from .index import FORMAT, LABEL, VERSION, dataset_name, recording_row, to_columns, to_table, write_index
from .shards import INDEX_SUFFIX, SUFFIX, write_shard

#: Largest finite float16
LARGEST = 65504.0
#: Median magnitude that normalised recordings stay within; volts, teslas and raw BOLD do not
NORMALISED = (1e-3, 1e3)
#: More windows than this close a shard, so that its header stays short
MAX_WINDOWS = 16_384

#: Time in the name of a shard
_TIME = "%Y%m%dT%H%M%S%f"


class CorpusWriter:
    """Append recordings to a corpus; any number of writers, on any machines, may append to one corpus at once.

    Windows are kept in memory until a shard (of `shard_bytes`) is full and then written in one go. All windows of a
    recording go into one shard, so a recording is in the corpus whole or not at all. Use as a context manager, or call
    `close`. The folder `root` is made if it does not exist.

    Raises CorpusError: `root` is something else than a corpus, or a corpus of another version; StorageError: it cannot
    be written.
    """

    def __init__(self, root: str | PathLike[str], shard_bytes: int = 128 * 2**20) -> None:
        self.root = user_path(root)
        self.shard_bytes = shard_bytes
        self._id = uuid.uuid4().hex[:12]
        self._rows: list[dict[str, Any]] = []
        self._windows: list[np.ndarray] = []
        self._bytes = 0
        self._added: set[tuple[str, str, str]] = set()
        self._quality: dict[tuple[str, str], dict[str, Any]] = {}
        self._done: set[str] | None = None
        self._tables: set[str] = set()
        make_corpus(self.root)

    def add(
        self,
        recording: Mapping[str, Any],
        channels: Channels,
        windows: Sequence[Any],
        good: np.ndarray | None = None,
        quality: Mapping[str, Any] | None = None,
    ) -> None:
        """Add all windows of one recording; they are on disk once the shard is full or the writer closed.

        `recording` holds dataset, modality, subject, recording, config, sfreq, and where known session, task, run;
        `channels` is the table of all windows, whose data (n_channels, n_times) are normalised, with onset (s), labels
        and view. `good` (bool, n_channels) is False where a channel is bad. `quality`, what was found in the recording
        and done to it, is kept as `quality/<recording>.json` once it is on disk.

        Raises CorpusError: data are not finite, do not fit float16, or are not normalised; a shape or a field is wrong;
        the recording was added before. Nothing of it is kept. StorageError: a full shard could not be written.
        """
        row = recording_row(recording)
        name, identity = row["recording"], (row["dataset"], row["modality"], row["recording"])
        if identity in self._added:
            raise CorpusError("was added before", file=name, fix="give all windows of a recording in one call")
        if not len(windows):
            raise CorpusError("has no windows", file=name)
        good = np.ones(len(channels), bool) if good is None else np.asarray(good, bool)
        if good.shape != (len(channels),):
            raise CorpusError(f"{good.shape} for {len(channels)} channels", file=name, field="good")
        if not all(window.view for window in windows):
            raise CorpusError("a window has no view", file=name, field="view")
        data = [np.asarray(window.data) for window in windows]
        halves, checksums = _to_halves(data, len(channels), name)
        _check_scale(data, good, name)
        n_bytes = sum(half.nbytes for half in halves)
        another = bool(self._rows) and self._rows[0]["dataset"] != row["dataset"]
        if another or self._bytes + n_bytes > self.shard_bytes or len(self._rows) + len(halves) > MAX_WINDOWS:
            self.flush()
        digest = channels.digest
        if digest not in self._tables:
            write_json(self.root / "channels" / f"{digest}.json", channels.to_dict())
            self._tables.add(digest)
        row |= {"dtype": "float16", "channel_set": digest, "good": "".join("01"[g] for g in good.astype(int))}
        for window, half, checksum in zip(windows, halves, checksums, strict=True):
            labels = {LABEL + str(key): str(value) for key, value in window.labels.items() if value is not None}
            shape = {"n_channels": half.shape[0], "n_times": half.shape[1], "crc32c": checksum}
            place = {"key": f"{len(self._rows):05d}", "view": str(window.view), "onset": float(window.onset)}
            self._rows.append(row | shape | place | labels)
        self._windows += halves
        self._bytes += n_bytes
        self._added.add(identity)
        if quality is not None:
            about = {key: row[key] for key in ("dataset", "modality", "subject", "recording", "channel_set")}
            self._quality[(row["dataset"], name)] = {**about, **quality}

    def add_dataset(self, name: str, description: Mapping[str, Any]) -> None:
        """Store what is known of a dataset: recipe, chain steps, license, citation. Replaces an earlier description."""
        write_json(self.root / "datasets" / f"{dataset_name(name)}.json", dict(description), checksum=True)

    def record_failure(self, recording: Mapping[str, Any], reason: str) -> None:
        """Note that a recording (its dataset and name) could not be prepared; forgotten once it is committed."""
        write_json(self._beside("failures", recording), {**recording, "reason": str(reason)})

    def forget_failure(self, recording: Mapping[str, Any]) -> None:
        """Take back what `record_failure` noted."""
        self._beside("failures", recording).unlink(missing_ok=True)

    def done(self, config: str) -> bool:
        """Whether the recording with this config hash is committed (judged from the disk when first asked)."""
        if self._done is None:
            from .store import Corpus

            self._done = set(Corpus(self.root).columns(["config"])["config"].unique())
        return config in self._done

    def flush(self) -> None:
        """Commit what was added so far; after a StorageError it is still held, so that `flush` can be called again."""
        if not self._rows:
            return
        # `dataset-time-writer`, which sorts behind all shards of the dataset, even those of a clock ahead of ours
        dataset, now = self._rows[0]["dataset"], datetime.now(UTC).replace(tzinfo=None)
        other = re.compile(rf"{re.escape(dataset)}-(\d{{8}}T\d{{12}})-[0-9a-f]{{12}}\..*")
        found = [match[1] for path in (self.root / "shards").iterdir() if (match := other.fullmatch(path.name))]
        if found:
            now = max(now, datetime.strptime(max(found), _TIME) + timedelta(microseconds=1))
        shard = f"{dataset}-{now.strftime(_TIME)}-{self._id}"
        rows = [row | {"shard": shard} for row in self._rows]
        write_shard(self.root / "shards" / f"{shard}{SUFFIX}", rows, self._windows)
        # from here the windows are safe; should the index fail to be written, readers rebuild it from the header
        self._rows, self._windows, self._bytes = [], [], 0
        if self._done is not None:
            self._done |= {row["config"] for row in rows}
        write_index(self.root / "shards" / f"{shard}{INDEX_SUFFIX}", to_table(to_columns(rows)), [shard])
        for name in {row["recording"] for row in rows}:
            self.forget_failure({"dataset": dataset, "recording": name})
            if quality := self._quality.pop((dataset, name), None):
                write_json(self._beside("quality", quality), quality, checksum=True)

    close = flush

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # recordings that were added are complete, so an error in the next one is no reason to lose them;
        # only a disk that just refused would refuse again and hide the first message
        if kind is None or not issubclass(kind, StorageError):
            self.close()

    def _beside(self, folder: str, fields: Mapping[str, Any]) -> Path:
        # recordings are often named by their path, so the file name is a readable part of it and a hash of the whole
        dataset, recording = fields.get("dataset"), str(fields.get("recording"))
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", recording)[-80:].lstrip(".")
        digest = hashlib.sha256(f"{dataset}/{recording}".encode()).hexdigest()[:8]
        return self.root / folder / f"{slug}-{digest}.json"


def make_corpus(root: Path) -> None:
    """Make a corpus, or see that there is one."""
    make_folder(root)
    if not (root / "corpus.json").exists():
        unexpected = [entry.name for entry in root.iterdir() if not entry.name.startswith(".")]
        # another writer may have made the corpus meanwhile
        if unexpected and not (root / "corpus.json").exists():
            fix = "choose a new or empty folder"
            raise CorpusError(f"holds {unexpected[0]!r} but no corpus.json", file=root, fix=fix)
        write_json(root / "corpus.json", {"format": FORMAT, "version": VERSION})
    Folder(root).version()
    for folder in ("datasets", "channels", "shards", "failures", "quality"):
        make_folder(root / folder)


def _to_halves(data: Sequence[np.ndarray], n_channels: int, recording: str) -> tuple[list[np.ndarray], list[int]]:
    """Float16 copies of windows and their checksums; windows that float16 would not hold are refused."""
    whole, end = empty((sum(window.size for window in data),), np.float16), 0
    halves, checksums = [], []
    for window in data:
        if window.ndim != 2 or len(window) != n_channels or not window.size:
            raise CorpusError(f"window of shape {window.shape} for {n_channels} channels", file=recording)
        start, end = end, end + window.size
        half = whole[start:end].reshape(window.shape)
        # torch casts and compares float16 an order of magnitude faster than numpy, with the same rounding
        tensor = torch.from_numpy(half).copy_(torch.from_numpy(np.require(window, np.float32, ["C", "W"])))
        # nan and infinity show in the extremes, and what overflowed is infinite now
        if not torch.stack(tensor.aminmax()).isfinite().all():
            if not np.isfinite(peak := float(np.abs(window).max())):
                raise CorpusError("holds values that are not finite", file=recording)
            problem = f"holds {peak:.3g}, float16 ends at {LARGEST:g}"
            raise CorpusError(problem, file=recording, fix="normalise and clip before storing")
        halves.append(half)
        checksums.append(crc32c(half))
        release(whole, window)
    return halves, checksums


def _check_scale(data: Sequence[np.ndarray], good: np.ndarray, recording: str) -> None:
    """Refuse data that were not normalised: float16 would turn volts into zeros and raw BOLD into steps."""
    rows = np.flatnonzero(good) if good.any() else np.arange(len(good))
    step = max(1, sum(window.shape[1] for window in data) * len(rows) // 20_000)  # a median needs no more values
    sample = []
    for window in data:
        sample.append(window[:, ::step][rows].ravel())
        release(window)
    scale = float(np.median(np.abs(np.concatenate(sample))))
    if not NORMALISED[0] <= scale <= NORMALISED[1]:
        fix = f"normalise it (median magnitude {NORMALISED[0]:g} to {NORMALISED[1]:g})"
        problem = f"typical magnitude {scale:.2g}, and float16 holds normalised data only"
        raise CorpusError(problem, file=recording, fix=fix)
