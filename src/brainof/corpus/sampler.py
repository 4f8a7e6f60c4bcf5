"""BatchSampler: the order of training windows as a pure function of (seed, epoch)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count as count_from
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, CorpusError
from ..utils.values import ceil_div
from .buckets import Bucket, Cell, buckets_of

_GOLDEN = (5**0.5 - 1) / 2


def numbers(start: int, rank: int = 0, world: int = 1, worker: int = 0, workers: int = 1) -> Iterator[int]:
    """Numbers of the batches that fall to one worker of one rank, counted through all epochs.

    Number `start + i` goes to rank i % world, and in each rank to its workers in turn. The series itself knows neither
    ranks nor workers, so another number of them goes on with the very next batch.
    """
    return count_from(start + rank + worker * world, world * workers)


class BatchSampler:
    """Batches of row numbers; each batch holds windows of one modality, rate, channel count and padded length.

    The order depends on the index, the settings, the seed and the epoch alone. Datasets are spread evenly within and
    modalities and shapes evenly across the batches of an epoch: any run of `span` batches holds every modality.

    Parameters
    ----------
    index : DataFrame
        Rows to draw from; their labels are the row numbers given back.
    batch_size, tokens_per_batch : int, optional
        Windows in a batch, and patches over all its channels and windows (or those of a single window), at most: with
        the latter a step costs alike and takes as much memory whatever the channels of a shape. One is required.
    weights : mapping, optional
        Rules under "modality" and "dataset", see `buckets.fractions`: small datasets are repeated, each time in a new
        order; of large ones every epoch takes the next part. Without, an epoch holds every window exactly once.
    batches_per_epoch : int, optional
        Batches drawn by weight, at least one of each modality; as many as without weights by default.
    patch, tokens_per_window : int
        Windows are padded to a multiple of `patch` samples; channels above the latter are left out later and free.
    max_padding : float
        Windows of fewer samples join a longer shape as long as at most this fraction of them becomes padding.
    limits : mapping of str to int, optional
        Most windows of a dataset that count: without weights an epoch visits that many of them, the next epoch the
        next ones; with weights its fraction is that of a dataset of this size.
    mix_shards : int, optional
        Visit shards in shuffled order and shuffle windows among this many of them at a time, instead of among all:
        what a remote corpus needs, whose shards are fetched whole. Each dataset and shape keeps as many shards open.

    Attribute `padding`: the fraction of the values of an unweighted epoch that are padding, at most.

    Raises CorpusError: the index is empty; ConfigError: a setting cannot be met.
    """

    def __init__(
        self,
        index: pd.DataFrame,
        batch_size: int | None = None,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        *,
        batches_per_epoch: int | None = None,
        patch: int = 64,
        tokens_per_batch: int | None = None,
        tokens_per_window: int | None = None,
        max_padding: float = 0.0,
        limits: Mapping[str, int] | None = None,
        mix_shards: int | None = None,
    ) -> None:
        if not len(index):
            raise CorpusError("no window to draw from", field="index")
        if batch_size is None and tokens_per_batch is None:
            raise ConfigError("is required", field="batch_size", fix="give batch_size or tokens_per_batch")
        given = {"batch_size": batch_size, "tokens_per_batch": tokens_per_batch, "patch": patch, "seed": seed + 1}
        for field, value in {**given, "batches_per_epoch": batches_per_epoch, "mix_shards": mix_shards}.items():
            if value is not None and value < 1:
                raise ConfigError("is too small", field=field, fix="give a number above 0 (a seed may be 0)")
        if not 0 <= max_padding < 1:
            raise ConfigError(f"{max_padding}", field="max_padding", fix="give a fraction in [0, 1)")
        self.batch_size, self.seed, self.patch, self.mix_shards = batch_size, seed, patch, mix_shards
        self._buckets, self.padding = buckets_of(
            index, weights, limits or {}, patch, max_padding, batch_size, tokens_per_batch, tokens_per_window
        )
        self._modalities = np.unique([bucket.modality for bucket in self._buckets], return_inverse=True)[1]
        sizes, own = (np.array([getattr(b, name) for b in self._buckets]) for name in ("size", "batch_size"))
        whole = -(-sizes // own)
        self._n_batches = batches_per_epoch or int(whole.sum())
        self._weighted, self._expected = weights is not None or batches_per_epoch is not None, whole
        if self._weighted:
            self._expected = _expected_batches(self._buckets, self._modalities, self._n_batches)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._n_batches

    def batches(self, epoch: int) -> list[list[int]]:
        """Row numbers of every batch of an epoch."""
        return [batch.tolist() for batch in self.plan(epoch)]

    def plan(self, epoch: int) -> list[np.ndarray]:
        """As `batches`, as integer arrays."""
        counts = self._counts(epoch)
        batches: list[np.ndarray] = []
        for bucket, count, expected in zip(self._buckets, counts.tolist(), self._expected, strict=True):
            if count:
                rows, size = self._rows(bucket, epoch, count, expected), bucket.batch_size
                batches += [rows[start : start + size] for start in range(0, count * size, size)]
        return [batches[place] for place in self._order(counts, self._random("interleave", epoch)).tolist()]

    @cached_property
    def span(self) -> int:
        """The smallest number of consecutive batches (of epoch 0) that holds every modality: an optimizer step's."""
        series = _evenly(np.bincount(self._modalities, weights=self._counts(0)).astype(np.int64))
        gaps = []
        for modality in np.unique(series).tolist():
            places = np.flatnonzero(series == modality)
            gaps.append(int(np.diff(places, append=places[0] + len(series)).max()))
        return max(gaps)

    def _counts(self, epoch: int) -> np.ndarray:
        return _rounded(self._expected, self._offset("batches", epoch)) if self._weighted else self._expected

    def _order(self, counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """An order of batches, given bucket by bucket: modalities at even distances, shapes evenly within them."""
        modality = np.repeat(self._modalities, counts)
        series = _evenly(np.bincount(modality, minlength=self._modalities.max() + 1))
        order = np.empty(len(series), np.int64)
        for each in np.unique(modality).tolist():
            mine = np.flatnonzero(modality == each)
            order[series == each] = mine[_spread(counts[self._modalities == each], random.random(len(mine)))]
        return order

    def _rows(self, bucket: Bucket, epoch: int, n_batches: int, expected: float) -> np.ndarray:
        """Rows of a bucket for an epoch, its datasets evenly spread."""
        if self._weighted:
            windows = np.array([cell.weight for cell in bucket.cells]) / bucket.weight * bucket.batch_size
            counts = _rounded(windows * n_batches, self._offset(bucket.name, epoch))
            steps = windows * expected  # on average over epochs; each goes on about where the last one stopped
        else:
            steps = counts = np.array([cell.limit for cell in bucket.cells])
        rows = [bucket.cells[0].rows[:0]]
        for cell, step, count in zip(bucket.cells, steps.tolist(), counts.tolist(), strict=True):
            if count:  # from place `start` of an endless series of permutations of the cell
                start, size = int(epoch * step), len(cell.rows)
                turns = range(start // size, ceil_div(start + count, size))
                rows.append(np.concatenate([self._shuffled(cell, turn) for turn in turns])[start % size :][:count])
        random = self._random(bucket.name, epoch).random(int(counts.sum()))
        return np.concatenate(rows)[_spread(counts, random)]

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
        # golden-ratio steps visit [0, 1) evenly, so over epochs every weight is met more closely than at random
        return float((self._random(name, 0).random() + epoch * _GOLDEN) % 1.0)


def _expected_batches(buckets: list[Bucket], modality: np.ndarray, total: int) -> np.ndarray:
    """Batches per epoch of each bucket, not rounded: they sum to `total`, and to 1 or more in each modality."""
    # weights are fractions of windows, so shapes of small batches need more of them
    expected = np.array([bucket.weight / bucket.batch_size for bucket in buckets])
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


def _rounded(expected: np.ndarray, offset: float) -> np.ndarray:
    """Numbers rounded up or down such that their sum, a whole number, stays (systematic sampling)."""
    # neighbours are rounded jointly: a run of them that sums to one or more gets at least one
    ends = np.concatenate([[0.0], np.cumsum(expected)])
    ends[-1] = round(ends[-1])
    return np.diff(np.ceil(ends - offset).astype(np.int64))


def _spread(counts: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """An order of items, given in groups of `counts`, in which every group is spread evenly over the whole."""
    group = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.argsort((place + phase) / counts[group], kind="stable")  # item i of a group of n lies at (i + phase) / n


def _evenly(counts: np.ndarray) -> np.ndarray:
    """A series in which number i occurs counts[i] times, at even distances."""
    group = np.repeat(np.arange(len(counts)), counts)
    # each has a phase of its own, the same in every epoch, so that the distance across its end is an even one too
    return group[_spread(counts, (group + 0.5) / len(counts))]
