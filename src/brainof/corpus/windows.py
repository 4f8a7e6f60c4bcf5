"""Windows: numbered windows of one corpus or several, that are checked when read, and batched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..channels import MODALITIES, Channels
from ..errors import CorpusError
from ..signals import Sensors, SignalBatch
from ..utils.checksum import crc32c
from ..utils.values import ceil_div
from .index import COLUMNS, from_frame, to_frame


class Windows:
    """Numbered windows and their index: of one Corpus, or of `corpora`, numbered through in the order given."""

    def __init__(self, corpora: Sequence[Any] = (), remote: bool = False) -> None:
        self.corpora = corpora
        #: Whether shards are fetched from elsewhere, and want to be asked for early
        self.remote = remote
        self._columns: dict[str, np.ndarray] = {}
        self._names: dict[str, list[str]] = {}
        self._goods: dict[int, np.ndarray] = {}
        self._sensors: dict[int, Sensors] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row per window (columns: `brainof.corpus.index.COLUMNS` and labels), numbered from 0."""
        own = (name for corpus in self.corpora for name in corpus.column_names)
        return self.columns(list(dict.fromkeys([*COLUMNS, *own])))

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:
        """What is known of each dataset, by name."""
        return {name: about for corpus in reversed(self.corpora) for name, about in corpus.datasets.items()}

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of `index`, without holding the others in memory."""
        frames = (corpus.columns([name for name in names if name in corpus.column_names]) for corpus in self.corpora)
        return to_frame([from_frame(frame) for frame in frames], names)

    def channels(self, digest: str) -> Channels:
        """The channel table of a channel set."""
        for corpus in self.corpora:
            with suppress(FileNotFoundError):
                corpus.folder.read(f"channels/{digest}.json")
                return corpus.channels(digest)
        raise CorpusError(f"no corpus holds channel set {digest}", file=self.corpora[0].folder.where("channels"))

    def view(self, row: int) -> np.ndarray:
        """A window as a float16 view (n_channels, n_times) of the file, not checked."""
        corpus, local = self._locate(row)
        return corpus.view(local)

    def damaged(self, row: int) -> CorpusError:
        """The error of a window that does not match its checksum; names the shard."""
        corpus, local = self._locate(row)
        return corpus.damaged(local)

    def read_ahead(self, rows: Iterable[int]) -> None:
        """Ask for the bytes of windows that will be read soon; returns at once."""
        numbers = np.asarray(list(rows), np.int64)
        which = np.searchsorted(self._starts, numbers, side="right") - 1
        for number in np.unique(which).tolist():
            self.corpora[number].read_ahead((numbers[which == number] - self._starts[number]).tolist())

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([len(corpus) for corpus in self.corpora])])

    def _locate(self, row: int) -> tuple[Any, int]:
        which = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.corpora[which], int(row - self._starts[which])

    def read(self, row: int) -> np.ndarray:
        """One window, a read-only float16 view (n_channels, n_times) of the mapped file; CorpusError if damaged."""
        window = self.view(row)
        if crc32c(window) != self._column("crc32c")[row]:
            raise self.damaged(row)
        return window

    def batch(
        self, rows: Sequence[int], patch: int = 64, dtype: torch.dtype = torch.float32, fill: bool = False
    ) -> SignalBatch:
        """Windows of equal channel count as one batch, padded with zeros to a common multiple of `patch` samples.

        `rows` are row numbers in `index`; `dtype` is that of the signal: float16 leaves the cast to the device and
        halves what travels there. `fill` gives windows of fewer channels than others bad ones at their end, instead of
        refusing them. Raises CorpusError: a shard is damaged, or the windows have different numbers of channels.
        """
        numbers = np.asarray(rows, np.int64)
        n_channels, n_times = self._column("n_channels")[numbers], self._column("n_times")[numbers]
        if not len(numbers):
            raise CorpusError("a batch of no windows")
        if not fill and (n_channels != n_channels[0]).any():
            raise CorpusError(f"windows of {sorted(set(n_channels.tolist()))} channels do not fit one batch")
        self.read_ahead(numbers.tolist())
        most, padded = int(n_channels.max()), ceil_div(int(n_times.max()), patch) * patch
        signal_BCT = np.empty((len(numbers), most, padded), np.float16)
        good_BC = np.zeros((len(numbers), most), bool)
        for place, row in enumerate(numbers.tolist()):
            window = self.view(row)
            # copying first lets other threads run while the pages are fetched; the checksum then finds them in memory
            signal_BCT[place, : len(window), : window.shape[1]] = window
            signal_BCT[place, len(window) :] = signal_BCT[place, :, window.shape[1] :] = 0
            good = self._column("good")[row]
            if good not in self._goods:
                self._goods[good] = np.frombuffer(self._names["good"][good].encode(), np.uint8) == ord("1")
            good_BC[place, : len(window)] = self._goods[good]
            if crc32c(window) != self._column("crc32c")[row]:
                raise self.damaged(row)
        sets, modality = self._column("channel_set")[numbers], self._column("modality")[numbers]
        modalities = np.array([MODALITIES.index(name) for name in self._names["modality"]])  # type: ignore[arg-type]
        return SignalBatch(
            signal_BCT=torch.from_numpy(signal_BCT).to(dtype),
            sensors=self._sensors_of(sets, most),
            channel_mask_BC=torch.from_numpy(good_BC),
            n_times_B=torch.from_numpy(n_times.astype(np.int64)),
            interval_B=torch.from_numpy((1 / self._column("sfreq")[numbers]).astype(np.float32)),
            modality_B=torch.from_numpy(modalities[modality]),
            datasets=tuple(self._text("dataset", row) for row in numbers),
            rows=tuple(numbers.tolist()),
        )

    # Rows are looked up in plain arrays: a pandas row costs more than reading the window.

    def _column(self, name: str) -> np.ndarray:
        """Values of a column, or the category codes of a text column, whose categories are in `_names` then."""
        if name not in self._columns:
            column = self.columns([name])[name]
            if column.dtype == "category":
                self._names[name] = column.cat.categories.tolist()
            self._columns[name] = column.cat.codes.to_numpy() if column.dtype == "category" else column.to_numpy()
        return self._columns[name]

    def _text(self, column: str, row: int) -> str:
        code = self._column(column)[row]
        return self._names[column][code]

    def _sensors_of(self, sets: np.ndarray, most: int) -> Sensors:
        """Identities shared by the batch (B = 1) where it has one channel set, one row per window otherwise; `most`
        channels, the last of which may be fillers."""
        for code in np.unique(sets).tolist():
            if code not in self._sensors:
                self._sensors[code] = Sensors.from_channels(self.channels(self._names["channel_set"][code]))
        if (sets == sets[0]).all():
            return self._sensors[int(sets[0])]
        each = [self._sensors[code].filled(most) for code in sets.tolist()]
        return Sensors(**{f.name: torch.cat([getattr(one, f.name) for one in each]) for f in fields(Sensors)})
