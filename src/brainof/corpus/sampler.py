"""BatchSampler: the order of training windows as a pure function of (seed, epoch)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import count as count_from
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, CorpusError
from .buckets import Bucket, Cell, buckets_of, cells_of
from .spacing import allot, at_even_distances, spread

_GOLDEN = (5**0.5 - 1) / 2


class Plan(Sequence[np.ndarray]):
    """The batches of an epoch, as arrays of row numbers."""

    def __init__(self, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self._rows, self._starts, self._ends = rows, starts, ends

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: Any) -> Any:
        return self._rows[self._starts[number] : self._ends[number]]


def numbers(start: int, rank: int = 0, world: int = 1, worker: int = 0, workers: int = 1) -> Iterator[int]:
    """Numbers of the batches that fall to one worker of one rank, counted through all epochs.

    Batches are dealt like cards: number `start` to rank 0, the next to rank 1, ..., and in each rank to its workers in
    turn. The series itself knows neither ranks nor workers, so another number of them goes on with the very next batch.
    """
    return count_from(start + rank + worker * world, world * workers)


class BatchSampler:
    """Batches of row numbers; each batch holds windows of one modality, rate, channel count and padded length.

    The order depends on the index, the settings, the seed and the epoch alone: not on workers, ranks or history. The
    position in it is two integers, (epoch, batch). Datasets are spread evenly within and modalities and shapes evenly
    across the batches of an epoch: any run of `span` batches holds every modality.

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
    max_padding : float
        Windows of fewer samples join a longer shape as long as at most this share of them becomes padding: fewer,
        fuller shapes. At 0 only the last patch of a window is padded.
    limits : mapping of str to int, optional
        Most windows of a dataset that count: without weights an epoch visits that many of them, the next epoch the
        next ones; with weights its share is that of a dataset of this size.
    mix_shards : int, optional
        Visit shards in shuffled order and shuffle windows among this many of them at a time, instead of among all:
        what a remote corpus needs, whose shards are fetched whole. Each dataset and shape keeps as many shards open.

    Attributes
    ----------
    padding : float
        Share of the values of an unweighted epoch that are padding, at most.

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
        max_padding: float = 0.0,
        limits: Mapping[str, int] | None = None,
        mix_shards: int | None = None,
    ) -> None:
        if not len(index):
            raise CorpusError("no window to draw from", field="index")
        given = {"batch_size": batch_size, "patch": patch, "batches_per_epoch": batches_per_epoch, "seed": seed + 1}
        for field, value in {**given, "mix_shards": mix_shards}.items():
            if value is not None and value < 1:
                raise ConfigError("is too small", field=field, fix="give a number above 0 (a seed may be 0)")
        if not 0 <= max_padding < 1:
            raise ConfigError(f"{max_padding}", field="max_padding", fix="give a share in [0, 1)")
        self.batch_size, self.seed, self.drop, self.patch = batch_size, seed, drop, patch
        self.mix_shards = mix_shards
        cells, self.padding = cells_of(index, weights, patch, max_padding, limits or {}, mix_shards is not None)
        self._buckets = buckets_of(cells, batch_size, max_values)
        self._modalities = np.unique([bucket.modality for bucket in self._buckets], return_inverse=True)[1]
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

    def plan(self, epoch: int) -> Plan:
        """As `batches`, as integer arrays that are cut when they are asked for."""
        counts = self._counts(epoch)
        parts, starts, ends, begin = [], [], [], 0
        for number in np.flatnonzero(counts).tolist():
            rows, size = self._rows(number, epoch, int(counts[number])), self._buckets[number].batch_size
            places = begin + np.arange(int(counts[number])) * size
            starts.append(places)
            ends.append(np.minimum(places + size, begin + len(rows)))
            parts.append(rows)
            begin += len(rows)
        order = self._order(counts, self._random("interleave", epoch))
        return Plan(np.concatenate(parts), np.concatenate(starts)[order], np.concatenate(ends)[order])

    @cached_property
    def span(self) -> int:
        """The smallest number of consecutive batches that always holds every modality (of the first epoch).

        An optimizer step over so many batches, across ranks and accumulation, sees every modality.
        """
        counts = np.bincount(self._modalities, weights=self._counts(0)).astype(np.int64)
        series = at_even_distances(counts)
        gaps = []
        for modality in range(len(counts)):
            places = np.flatnonzero(series == modality)
            gaps.append(int(np.diff(places, append=places[0] + len(series)).max()))
        return max(gaps)

    def _counts(self, epoch: int) -> np.ndarray:
        """Batches of each bucket in an epoch."""
        if self._weighted:
            return allot(self._expected, self._n_batches, self._offset("batches", epoch))
        return np.array([self._whole_batches(bucket) for bucket in self._buckets])

    def _order(self, counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """An order of batches, given bucket by bucket: modalities at even distances, shapes evenly within them."""
        of_bucket = np.repeat(np.arange(len(counts)), counts)
        modality = self._modalities[of_bucket]
        series = at_even_distances(np.bincount(self._modalities, weights=counts).astype(np.int64))
        order = np.empty(len(series), np.int64)
        for each in np.unique(modality).tolist():
            mine = np.flatnonzero(modality == each)
            within = spread(counts[self._modalities == each], random)
            order[series == each] = mine[within]
        return order

    def _whole_batches(self, bucket: Bucket) -> int:
        full, rest = divmod(bucket.size, bucket.batch_size)
        return full + (rest > 0 and (not self.drop or full == 0))

    def _rows(self, number: int, epoch: int, n_batches: int) -> np.ndarray:
        """Rows of a bucket for an epoch, its datasets evenly spread."""
        bucket = self._buckets[number]
        if self._weighted:
            total = n_batches * bucket.batch_size
            expected = np.array([cell.weight for cell in bucket.cells])
            expected *= total / expected.sum()
            counts = allot(expected, total, self._offset(bucket.name, epoch))
            # on average over epochs; each epoch goes on about where the last one stopped
            steps = expected / total * self._expected[number] * bucket.batch_size
        else:
            steps = counts = np.array([cell.limit for cell in bucket.cells])
        parts = [
            self._stream(cell, int(epoch * step), int(count))
            for cell, step, count in zip(bucket.cells, steps, counts, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        order = spread(np.array([len(part) for part in parts]), self._random(bucket.name, epoch))
        return np.concatenate(parts)[order]

    def _stream(self, cell: Cell, start: int, count: int) -> np.ndarray:
        """`count` rows from place `start` of an endless series of permutations of the cell."""
        size, parts = len(cell.rows), []
        while count:
            turn, skip = divmod(start, size)
            taken = min(count, size - skip)
            parts.append(self._shuffled(cell, turn)[skip : skip + taken])
            start, count = start + taken, count - taken
        return np.concatenate(parts) if parts else cell.rows[:0]

    def _shuffled(self, cell: Cell, turn: int) -> np.ndarray:
        random = self._random(cell.name, turn)
        if cell.shards is None or self.mix_shards is None:
            return random.permutation(cell.rows)
        # a shard has one place in the order, whatever the shape of its windows, so that it is fetched once
        _, local = np.unique(cell.shards, return_inverse=True)
        place = self._random("shards", turn).random(int(cell.shards.max()) + 1)[np.unique(cell.shards)]
        pool = np.argsort(np.argsort(place))[local] // self.mix_shards
        return cell.rows[np.argsort(pool + random.random(len(local)), kind="stable")]

    def _random(self, name: str, number: int) -> np.random.Generator:
        # seeded by name, so that a dataset that joins leaves the order of the others as it is
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), number])

    def _offset(self, name: str, epoch: int) -> float:
        # golden-ratio steps visit [0, 1) evenly, so over epochs every share is met more closely than at random
        return float((self._random(name, 0).random() + epoch * _GOLDEN) % 1.0)


def _expected_batches(buckets: list[Bucket], total: int) -> np.ndarray:
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
