"""BatchSampler: the order of training windows as a pure function of (seed, epoch)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, CorpusError
from .weights import shares

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class _Cell:
    """Windows of one dataset and one shape; `weight` is the cell's share of the drawn windows."""

    name: str
    rows: np.ndarray
    weight: float


@dataclass(frozen=True)
class _Bucket:
    """Cells of one modality and one shape, from which batches are cut."""

    name: str
    modality: str
    cells: list[_Cell]
    batch_size: int

    @property
    def size(self) -> int:
        return sum(len(cell.rows) for cell in self.cells)

    @property
    def weight(self) -> float:
        return sum(cell.weight for cell in self.cells)


class BatchSampler:
    """Batches of row numbers; each batch holds windows of one modality, rate, channel count and padded length.

    The order depends on the index, the settings, the seed and the epoch alone: not on workers, ranks or history. The
    position in it is two integers, (epoch, batch). Datasets are spread evenly within and shapes evenly across the
    batches of an epoch.

    Without `weights` and `batches_per_epoch` an epoch holds every window exactly once. Otherwise it holds
    `batches_per_epoch` batches (by default as many as without weights) drawn with the shares that
    `brainof.corpus.weights.shares` defines: small datasets are repeated, each time in a new order; of large ones
    every epoch takes the next part. Every modality gets at least one batch in every epoch.

    Parameters
    ----------
    index : DataFrame
        Rows to draw from; their labels are the row numbers given back.
    batch_size : int
        Windows in a batch, at most: shapes with fewer windows make smaller batches.
    weights : mapping, optional
        Rules under "modality" and "dataset"; see `shares`.
    seed : int
        Another seed gives another order.
    drop : bool
        Leave out batches that are not full, unless their shape would vanish (only without weights; with weights all
        batches of a shape are of one size).
    batches_per_epoch : int, optional
        Batches of an epoch.
    patch : int
        Patch length in samples: windows are padded to a multiple of it.
    max_values : int, optional
        Largest channels x samples x windows of a batch: shapes of many channels make smaller batches, so that memory
        stays bounded.

    Raises
    ------
    CorpusError
        The index is empty.
    ConfigError
        A setting cannot be met.
    """

    def __init__(
        self,
        index: pd.DataFrame,
        batch_size: int,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        *,
        drop: bool = False,
        batches_per_epoch: int | None = None,
        patch: int = 64,
        max_values: int | None = None,
    ) -> None:
        if not len(index):
            raise CorpusError("no window to draw from", field="index")
        numbers = {"batch_size": batch_size, "patch": patch, "batches_per_epoch": batches_per_epoch, "seed": seed + 1}
        for field, value in numbers.items():
            if value is not None and value < 1:
                raise ConfigError("is too small", field=field, fix="give a number above 0 (a seed may be 0)")
        self.batch_size, self.seed, self.drop, self.patch = batch_size, seed, drop, patch
        #: share of the values of an unweighted epoch that are padding
        self.padding = _padding(index, patch)
        self._buckets = _buckets(index, batch_size, weights, patch, max_values)
        self._weighted = weights is not None or batches_per_epoch is not None
        counts = [self._whole_batches(bucket) for bucket in self._buckets]
        self._n_batches = batches_per_epoch or sum(counts)
        if self._weighted:
            self._expected = _expected_batches(self._buckets, self._n_batches)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._n_batches

    def batches(self, epoch: int) -> list[list[int]]:
        """Row numbers of every batch of an epoch."""
        return [batch.tolist() for batch in self.plan(epoch)]

    def plan(self, epoch: int) -> list[np.ndarray]:
        """As `batches`, as integer arrays."""
        if self._weighted:
            counts = _allot(self._expected, self._n_batches, self._offset("batches", epoch))
        else:
            counts = np.array([self._whole_batches(bucket) for bucket in self._buckets])
        batches: list[np.ndarray] = []
        for number in np.flatnonzero(counts).tolist():
            rows, size = self._rows(number, epoch, int(counts[number])), self._buckets[number].batch_size
            batches += [rows[start : start + size] for start in range(0, int(counts[number]) * size, size)]
        order = _spread(counts, self._random("interleave", epoch))
        return [batches[i] for i in order]

    def _whole_batches(self, bucket: _Bucket) -> int:
        full, rest = divmod(bucket.size, bucket.batch_size)
        return full + (rest > 0 and (not self.drop or full == 0))

    def _rows(self, number: int, epoch: int, n_batches: int) -> np.ndarray:
        """Rows of a bucket for an epoch, its datasets evenly spread."""
        bucket = self._buckets[number]
        if self._weighted:
            total = n_batches * bucket.batch_size
            expected = np.array([cell.weight for cell in bucket.cells])
            expected *= total / expected.sum()
            counts = _allot(expected, total, self._offset(bucket.name, epoch))
            # on average over epochs; each epoch goes on about where the last one stopped
            steps = expected / total * self._expected[number] * bucket.batch_size
        else:
            steps = counts = np.array([len(cell.rows) for cell in bucket.cells])
        parts = [
            self._stream(cell, int(epoch * step), int(count))
            for cell, step, count in zip(bucket.cells, steps, counts, strict=True)
        ]
        order = _spread(np.array([len(part) for part in parts]), self._random(bucket.name, epoch))
        return np.concatenate(parts)[order]

    def _stream(self, cell: _Cell, start: int, count: int) -> np.ndarray:
        """`count` rows from place `start` of an endless series of permutations of the cell."""
        size, parts = len(cell.rows), []
        while count:
            turn, skip = divmod(start, size)
            taken = min(count, size - skip)
            parts.append(cell.rows[self._random(cell.name, turn).permutation(size)[skip : skip + taken]])
            start, count = start + taken, count - taken
        return np.concatenate(parts) if parts else cell.rows[:0]

    def _random(self, name: str, number: int) -> np.random.Generator:
        # seeded by name, so that a dataset that joins leaves the order of the others as it is
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), number])

    def _offset(self, name: str, epoch: int) -> float:
        # golden-ratio steps visit [0, 1) evenly, so over epochs every share is met more closely than at random
        return float((self._random(name, 0).random() + epoch * _GOLDEN) % 1.0)


def _buckets(
    index: pd.DataFrame,
    batch_size: int,
    weights: Mapping[str, Any] | None,
    patch: int,
    max_values: int | None,
) -> list[_Bucket]:
    """Group rows by shape and dataset, in an order that depends on their names alone."""
    keys = index[["modality", "sfreq", "n_channels", "dataset"]].assign(padded=_padded(index, patch))
    grouped = keys.groupby(["modality", "sfreq", "n_channels", "padded", "dataset"], observed=True)
    places: dict[Any, Any] = {**grouped.indices}
    sizes: dict[tuple[str, str], int] = {}
    for (modality, *_, dataset), rows in places.items():
        sizes[modality, dataset] = sizes.get((modality, dataset), 0) + len(rows)
    share = shares(sizes, weights)
    labels = index.index.to_numpy()
    cells: dict[tuple, list[_Cell]] = {}
    for (*shape, dataset), rows in sorted(places.items()):
        pair = shape[0], dataset
        name = "/".join(str(part) for part in (*shape, dataset))
        cells.setdefault(tuple(shape), []).append(_Cell(name, labels[rows], share[pair] * len(rows) / sizes[pair]))
    buckets = []
    for shape, members in cells.items():
        fits = batch_size if max_values is None else max(1, max_values // (shape[2] * shape[3]))
        size = min(batch_size, fits, sum(len(cell.rows) for cell in members))
        buckets.append(_Bucket("/".join(str(part) for part in shape), shape[0], members, size))
    return buckets


def _padded(index: pd.DataFrame, patch: int) -> np.ndarray:
    return -(-index["n_times"].to_numpy(np.int64) // patch) * patch


def _padding(index: pd.DataFrame, patch: int) -> float:
    n_channels = index["n_channels"].to_numpy(np.int64)
    return 1 - float(
        (index["n_times"].to_numpy(np.int64) * n_channels).sum() / (_padded(index, patch) * n_channels).sum()
    )


def _expected_batches(buckets: list[_Bucket], total: int) -> np.ndarray:
    """Batches per epoch of each bucket, not rounded: they sum to `total`, and to 1 or more in each modality."""
    # weights are shares of windows, so shapes of small batches need more of them
    expected = np.array([bucket.weight / bucket.batch_size for bucket in buckets])
    modality = np.unique([bucket.modality for bucket in buckets], return_inverse=True)[1]
    wanted = np.bincount(modality, weights=expected)
    if total < len(wanted):
        fix = f"give at least {len(wanted)}: every epoch visits every modality"
        raise ConfigError(f"{total}", field="batches_per_epoch", fix=fix)
    given, small = wanted * (total / wanted.sum()), np.zeros(len(wanted), bool)
    while (given[~small] < 1).any():
        small |= given < 1
        given[small] = 1
        given[~small] = wanted[~small] * ((total - small.sum()) / wanted[~small].sum())
    return expected * (given / wanted)[modality]


def _allot(expected: np.ndarray, total: int, offset: float) -> np.ndarray:
    """Round numbers that sum to `total` up or down such that the sum stays (systematic sampling).

    Neighbours are rounded jointly: a run of them that sums to one or more gets at least one.
    """
    ends = np.concatenate([[0.0], np.cumsum(expected)])
    ends[-1] = total
    return np.diff(np.ceil(ends - offset).astype(np.int64))


def _spread(counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An order of items, given in groups of `counts`, in which every group is spread evenly over the whole."""
    group = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.argsort((place + random.random(len(group))) / counts[group], kind="stable")
