"""Corpus: windows read back from disk, every one of them checked; Corpora joins several."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cached_property, lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import torch

from ..channels import MODALITIES, Channels
from ..errors import CorpusError
from ..signals import Sensors, SignalBatch
from .files import read_json
from .index import COLUMNS, from_frame, in_order, to_frame
from .shards import INDEX_SUFFIX, SUFFIX, Shard, check_window
from .writer import COVERS, check_version

if TYPE_CHECKING:
    from .upkeep import Verification

logger = logging.getLogger(__name__)

#: Shards kept mapped at a time: each costs a file descriptor
OPEN_SHARDS = 256


class Windows(ABC):
    """Numbered windows and their index: what Corpus and Corpora have in common."""

    @property
    @abstractmethod
    def index(self) -> pd.DataFrame:
        """One row per window (columns: `brainof.corpus.index.COLUMNS` and labels), numbered from 0."""

    @property
    @abstractmethod
    def datasets(self) -> dict[str, dict[str, Any]]:
        """What is known of each dataset, by name."""

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """Sentences a user should read: what was odd when the index was read."""

    @abstractmethod
    def channels(self, digest: str) -> Channels:
        """The channel table of a channel set."""

    @abstractmethod
    def view(self, row: int) -> np.ndarray:
        """A window as a float16 view (n_channels, n_times) of the file, not checked."""

    @abstractmethod
    def shard_path(self, row: int) -> Path:
        """The file that holds a window."""

    @abstractmethod
    def read_ahead(self, rows: Iterable[int]) -> None:
        """Ask the system to fetch windows; returns at once."""

    def __len__(self) -> int:
        return len(self.index)

    def read(self, row: int) -> np.ndarray:
        """One window.

        Parameters
        ----------
        row : int
            Row number in `index`.

        Returns
        -------
        ndarray, shape (n_channels, n_times), float16
            A read-only view of the mapped file.

        Raises
        ------
        CorpusError
            The shard is missing, cut, or its bytes are not those that were written; names the shard.
        """
        window = self.view(row)
        self.check(row, window)
        return window

    def check(self, row: int, window: np.ndarray) -> None:
        """Compare a window with its checksum; a difference is a CorpusError that names the shard."""
        check_window(
            window,
            self._column("crc32c")[row],
            self.shard_path(row),
            self._text("key", row),
            self._text("recording", row),
        )

    def batch(self, rows: Sequence[int], patch: int = 64, dtype: torch.dtype = torch.float32) -> SignalBatch:
        """Windows of equal channel count as one batch, padded with zeros to a common multiple of `patch` samples.

        Parameters
        ----------
        rows : sequence of int
            Row numbers in `index`.
        patch : int
            Patch length in samples.
        dtype : torch.dtype
            Of the signal. float16 leaves the cast to the device and halves what travels there.

        Raises
        ------
        CorpusError
            A shard is damaged, or the windows have different numbers of channels.
        """
        numbers = np.asarray(rows, np.int64)
        n_channels, n_times = self._column("n_channels")[numbers], self._column("n_times")[numbers]
        if not len(numbers):
            raise CorpusError("a batch of no windows")
        if (n_channels != n_channels[0]).any():
            raise CorpusError(f"windows of {sorted(set(n_channels.tolist()))} channels do not fit one batch")
        self.read_ahead(numbers.tolist())
        padded = -(-int(n_times.max()) // patch) * patch
        signal_BCT = np.zeros((len(numbers), int(n_channels[0]), padded), np.float16)
        for place, row in enumerate(numbers.tolist()):
            window = self.view(row)
            # copying first lets other threads run while the pages are fetched; the checksum then finds them in memory
            signal_BCT[place, :, : window.shape[1]] = window
            self.check(row, window)
        sets = self._column("channel_set")[numbers]
        return SignalBatch(
            signal_BCT=torch.from_numpy(signal_BCT).to(dtype),
            sensors=self._sensors_of(sets),
            channel_mask_BC=torch.from_numpy(np.stack([self._good(code) for code in self._column("good")[numbers]])),
            n_times_B=torch.from_numpy(n_times.astype(np.int64)),
            interval_B=torch.from_numpy((1 / self._column("sfreq")[numbers]).astype(np.float32)),
            modality_B=torch.from_numpy(self._modality[self._column("modality")[numbers]]),
            datasets=tuple(self._text("dataset", row) for row in numbers),
            rows=tuple(numbers.tolist()),
        )

    # Rows are looked up in plain arrays: a pandas row costs as much as reading the window.

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {}

    def _column(self, name: str) -> np.ndarray:
        """Values of a column, or the category codes of a text column."""
        if name not in self._columns:
            column = self.index[name]
            self._columns[name] = column.cat.codes.to_numpy() if column.dtype == "category" else column.to_numpy()
        return self._columns[name]

    def _text(self, name: str, row: int) -> str:
        return self.index[name].cat.categories[self._column(name)[row]]

    @cached_property
    def _modality(self) -> np.ndarray:
        """Index into MODALITIES for each category code."""
        return np.array([MODALITIES.index(name) for name in self.index["modality"].cat.categories], np.int64)

    @cached_property
    def _goods(self) -> dict[int, np.ndarray]:
        return {}

    def _good(self, code: int) -> np.ndarray:
        if code not in self._goods:
            text = self.index["good"].cat.categories[code]
            self._goods[code] = np.frombuffer(text.encode(), np.uint8) == ord("1")
        return self._goods[code]

    @cached_property
    def _sensors(self) -> dict[int, Sensors]:
        return {}

    def _sensors_of(self, sets: np.ndarray) -> Sensors:
        """Identities shared by the batch (B = 1) where it has one channel set, one row per window otherwise."""
        for code in np.unique(sets).tolist():
            if code not in self._sensors:
                table = self.channels(self.index["channel_set"].cat.categories[code])
                self._sensors[code] = Sensors.from_channels(table)
        if (sets == sets[0]).all():
            return self._sensors[int(sets[0])]
        each = [self._sensors[code] for code in sets.tolist()]
        return Sensors(**{f.name: torch.cat([getattr(one, f.name) for one in each]) for f in fields(Sensors)})


class Corpus(Windows):
    """A corpus on disk, opened for reading.

    Parameters
    ----------
    root : path-like
        The folder that holds corpus.json.

    Raises
    ------
    CorpusError
        There is no corpus at `root`, or one of another version.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)
        check_version(self.root)
        self._notes: list[str] = []
        self._shards = lru_cache(OPEN_SHARDS)(self._open)
        self._channels: dict[str, Channels] = {}

    def __reduce__(self) -> tuple[type[Corpus], tuple[Path]]:
        return type(self), (self.root,)  # worker processes open the corpus themselves

    def __repr__(self) -> str:
        return f"<Corpus {self.root}>"

    @cached_property
    def index(self) -> pd.DataFrame:  # type: ignore[override]
        merged, covered = self.merged_index()
        return self.indexed([name for name in self.shard_names() if name not in covered], merged)

    def indexed(self, shards: Iterable[str], tables: Sequence[pa.Table] = ()) -> pd.DataFrame:
        """The index of some shards, and of index tables that were read already."""
        index, superseded = in_order(to_frame([*tables, *(self.shard_index(name) for name in shards)]))
        for recording in superseded:
            self._note(f"{recording} occurs more than once; its newest windows count")
        return index

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return {path.stem: read_json(path) for path in sorted((self.root / "datasets").glob("*.json"))}

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Recordings that could not be prepared, with the reason."""
        return [read_json(path) for path in sorted((self.root / "failures").glob("*.json"))]

    def channels(self, digest: str) -> Channels:
        if digest not in self._channels:
            path = self.root / "channels" / f"{digest}.json"
            values = read_json(path)
            try:
                table = Channels.from_dict(values)
            except (TypeError, KeyError, ValueError):
                raise CorpusError("is damaged (not a channel table)", file=path) from None
            if table.digest != digest:
                raise CorpusError("is damaged (its content does not match its name)", file=path)
            self._channels[digest] = table
        return self._channels[digest]

    def view(self, row: int) -> np.ndarray:
        shape = int(self._column("n_channels")[row]), int(self._column("n_times")[row])
        return self.shard(self._text("shard", row)).window(self._text("key", row), shape)

    def shard_path(self, row: int) -> Path:
        return self._path(self._text("shard", row))

    def read_ahead(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.shard(self._text("shard", row)).read_ahead(self._text("key", row))

    def shard_names(self) -> list[str]:
        """Names of all shards that have a file or an index."""
        found = [path.name for path in (self.root / "shards").glob("[!.]*")]
        return sorted(
            {name.removesuffix(end) for end in (SUFFIX, INDEX_SUFFIX) for name in found if name.endswith(end)}
        )

    def shard_index(self, name: str) -> pa.Table:
        """Index rows of one shard: from its index file or, where that is missing, from its header."""
        path = self.root / "shards" / f"{name}{INDEX_SUFFIX}"
        if path.exists():
            return _read_index(path, f"delete it; it is rebuilt from {name}{SUFFIX}")
        self._note(f"shard {name} has no index file; its rows were read from its header")
        return self.shard(name).table()

    def shard(self, name: str) -> Shard:
        """A shard, opened; the most recently used ones stay open."""
        return self._shards(name)

    def merged_index(self) -> tuple[list[pa.Table], set[str]]:
        """The merged index, where there is one, and the names of the shards it covers."""
        path = self.root / "index.parquet"
        if not path.exists():
            return [], set()
        table = _read_index(path, "delete it; `brainof corpus compact` makes it again")
        covers = (table.schema.metadata or {}).get(COVERS.encode(), b"").decode()
        return [table], set(covers.split("\n")) - {""}

    def verify(self) -> Verification:
        """Read every byte and compare it with its checksum; see `upkeep.verify`."""
        from .upkeep import verify

        return verify(self)

    def compact(self) -> dict[str, Any]:
        """Merge the shard indexes into one file; see `upkeep.compact`."""
        from .upkeep import compact

        return compact(self)

    def info(self) -> dict[str, Any]:
        """Disk, windows, hours and people per dataset, modality and view; see `upkeep.info`."""
        from .upkeep import info

        return info(self)

    def _path(self, shard: str) -> Path:
        return self.root / "shards" / f"{shard}{SUFFIX}"

    def _open(self, shard: str) -> Shard:
        return Shard(self._path(shard))

    def _note(self, note: str) -> None:
        if note not in self._notes:
            logger.warning("%s: %s", self.root, note)
            self._notes.append(note)


class Corpora(Windows):
    """Several corpora as one: rows are numbered through, in the order given."""

    def __init__(self, corpora: Sequence[str | PathLike[str] | Corpus]) -> None:
        self.corpora = [each if isinstance(each, Corpus) else Corpus(each) for each in corpora]
        if not self.corpora:
            raise CorpusError("no corpus was given")

    def __repr__(self) -> str:
        return f"<Corpora {', '.join(str(corpus.root) for corpus in self.corpora)}>"

    @cached_property
    def index(self) -> pd.DataFrame:  # type: ignore[override]
        return to_frame([from_frame(corpus.index) for corpus in self.corpora])

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return {name: about for corpus in reversed(self.corpora) for name, about in corpus.datasets.items()}

    @property
    def notes(self) -> list[str]:
        return [note for corpus in self.corpora for note in corpus.notes]

    def channels(self, digest: str) -> Channels:
        for corpus in self.corpora:
            if (corpus.root / "channels" / f"{digest}.json").exists():
                return corpus.channels(digest)
        raise CorpusError(f"no corpus holds channel set {digest}", file=self.corpora[0].root / "channels")

    def view(self, row: int) -> np.ndarray:
        corpus, local = self._locate(row)
        return corpus.view(local)

    def shard_path(self, row: int) -> Path:
        corpus, local = self._locate(row)
        return corpus.shard_path(local)

    def read_ahead(self, rows: Iterable[int]) -> None:
        for row in rows:
            corpus, local = self._locate(row)
            corpus.read_ahead([local])

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([len(corpus) for corpus in self.corpora])])

    def _locate(self, row: int) -> tuple[Corpus, int]:
        which = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.corpora[which], int(row - self._starts[which])


def open_corpora(paths: str | PathLike[str] | Sequence[str | PathLike[str]]) -> Corpus | Corpora:
    """Open one corpus, or several as one."""
    if isinstance(paths, (str, PathLike)):
        return Corpus(paths)
    return Corpus(paths[0]) if len(paths) == 1 else Corpora(paths)


def _read_index(path: Path, fix: str) -> pa.Table:
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"is damaged ({str(error).splitlines()[0]})", file=path, fix=fix) from None
    if missing := [column for column in COLUMNS if column not in table.column_names]:
        raise CorpusError(f"lacks the columns {missing}", file=path, fix=fix)
    return table
