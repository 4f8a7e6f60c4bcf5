"""Shape buckets: which windows can share a batch, of which datasets, and how much of it is padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, did_you_mean
from .weights import shares

#: Columns of an index that a sampler looks at (and `shard` where shards are mixed)
COLUMNS = ("modality", "dataset", "sfreq", "n_channels", "n_times")


@dataclass(frozen=True)
class Cell:
    """Windows of one dataset and one shape; `weight` is the cell's share of the drawn windows.

    `limit` is the most windows of it that an epoch visits where no weights are given, `shards` the shard of each row.
    """

    name: str
    rows: np.ndarray
    weight: float
    limit: int
    shards: np.ndarray | None = None


@dataclass(frozen=True)
class Bucket:
    """Cells of one modality and one shape, from which batches are cut."""

    name: str
    modality: str
    cells: list[Cell]
    batch_size: int

    @property
    def size(self) -> int:
        return sum(cell.limit for cell in self.cells)

    @property
    def weight(self) -> float:
        return sum(cell.weight for cell in self.cells)


def cells_of(
    index: pd.DataFrame,
    weights: Mapping[str, Any] | None,
    patch: int,
    max_padding: float,
    limits: Mapping[str, int],
    with_shards: bool,
) -> tuple[dict[tuple, list[Cell]], float]:
    """Rows by shape and dataset, in an order that depends on their names alone, and the share of padding."""
    table = index[list(COLUMNS)]
    n_times = table["n_times"].to_numpy()
    # neighbouring rows are mostly alike, and there are few different ones: only changes are looked at one by one
    keys = [
        column.cat.codes.to_numpy() if column.dtype == "category" else column.to_numpy()
        for column in (table[name] for name in COLUMNS)
    ]
    changed = np.zeros(len(table), bool)
    changed[0] = True
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    first = np.flatnonzero(changed)
    lengths = np.diff(first, append=len(table))
    runs = table.iloc[first].reset_index(drop=True)
    runs["padded"] = -(-n_times[first].astype(np.int64) // patch) * patch
    runs["padded"] = _joined_lengths(runs, max_padding)
    values = runs["n_channels"].to_numpy(np.int64) * lengths
    padding = 1 - float((values * n_times[first]).sum() / (values * runs["padded"].to_numpy()).sum())

    grouped = runs.groupby(["modality", "sfreq", "n_channels", "padded", "dataset"], observed=True, sort=True)
    group = np.repeat(grouped.ngroup().to_numpy().astype(np.uint32), lengths)
    if grouped.ngroups <= np.iinfo(np.uint16).max:
        group = group.astype(np.uint16)  # sorted by counting
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=grouped.ngroups))
    labels = index.index.to_numpy()
    if len(labels) and labels.max() <= np.iinfo(np.int32).max:
        labels = labels.astype(np.int32)
    shard = index["shard"].cat.codes.to_numpy() if with_shards else None

    groups: dict[Any, Any] = {**grouped.groups}
    names = list(groups)
    sizes: dict[tuple[str, str], int] = {}
    for (modality, *_, dataset), size in zip(names, np.diff(ends, prepend=0).tolist(), strict=True):
        sizes[modality, dataset] = sizes.get((modality, dataset), 0) + size
    allowed = _limited(sizes, limits)
    share = shares({pair: max(1, round(size * allowed[pair])) for pair, size in sizes.items()}, weights)
    cells: dict[tuple, list[Cell]] = {}
    for (*shape, dataset), begin, end in zip(names, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        pair, places = (shape[0], dataset), order[begin:end]
        cell = Cell(
            name="/".join(str(part) for part in (*shape, dataset)),
            rows=labels[places],
            weight=share[pair] * len(places) / sizes[pair],
            limit=max(1, round(len(places) * allowed[pair])),
            shards=None if shard is None else shard[places],
        )
        cells.setdefault(tuple(shape), []).append(cell)
    return cells, padding


def buckets_of(cells: dict[tuple, list[Cell]], batch_size: int, max_values: int | None) -> list[Bucket]:
    """Cells by shape as buckets, with batches of `batch_size` windows, or fewer to stay within `max_values`."""
    buckets = []
    for shape, members in cells.items():
        fits = batch_size if max_values is None else max(1, max_values // (shape[2] * shape[3]))
        size = min(batch_size, fits, sum(cell.limit for cell in members))
        buckets.append(Bucket("/".join(str(part) for part in shape), shape[0], members, size))
    return buckets


def _joined_lengths(runs: pd.DataFrame, max_padding: float) -> np.ndarray:
    """The padded length of each row: its own, or a longer one of which at most `max_padding` is padding."""
    padded = runs["padded"].to_numpy().copy()
    if max_padding > 0:
        for places in runs.groupby(["modality", "sfreq", "n_channels"], observed=True).indices.values():
            longest = 0
            for length in np.unique(padded[places])[::-1].tolist():
                if length < (1 - max_padding) * longest or not longest:
                    longest = length
                padded[places[padded[places] == length]] = longest
    return padded


def _limited(sizes: Mapping[tuple[str, str], int], limits: Mapping[str, int]) -> dict[tuple[str, str], float]:
    """Share of the windows of each (modality, dataset) that its limit allows."""
    total: dict[str, int] = {}
    for (_, dataset), size in sizes.items():
        total[dataset] = total.get(dataset, 0) + size
    for name, limit in limits.items():
        if name not in total:
            raise ConfigError("is not in the corpus", field=f"limits.{name}", fix=did_you_mean(name, total))
        if not limit > 0:
            raise ConfigError(f"{limit!r} is not a number above 0", field=f"limits.{name}")
    return {pair: min(1.0, limits.get(pair[1], total[pair[1]]) / total[pair[1]]) for pair in sizes}
