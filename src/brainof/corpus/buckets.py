"""Shape buckets: which windows can share a batch, of which datasets, how many of them, and how much is padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, check_known
from ..utils.values import ceil_div
from .weights import fractions

#: Columns of an index that a sampler looks at (and `shard` where shards are mixed)
COLUMNS = ("modality", "dataset", "sfreq", "n_channels", "n_times")
_SHAPE = ["modality", "sfreq", "n_channels", "padded"]


@dataclass(frozen=True)
class Cell:
    """Windows of one dataset and one shape."""

    name: str
    rows: np.ndarray
    weight: float  # Fraction of the drawn windows
    limit: int  # Most windows that an epoch visits where no weights are given
    shards: np.ndarray | None = None  # Of each row


@dataclass(frozen=True)
class Bucket:
    """Cells of one modality and one shape, from which batches of `batch_size` windows are cut."""

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


def buckets_of(
    index: pd.DataFrame,
    weights: Mapping[str, Any] | None,
    limits: Mapping[str, int],
    patch: int,
    max_padding: float,
    batch_size: int | None,
    tokens_per_batch: int | None,
    tokens_per_window: int | None = None,
) -> tuple[list[Bucket], float]:
    """Rows by shape and dataset, in an order that depends on their names alone, and the fraction of padding."""
    kinds, order = _kinds(index)
    kinds["padded"] = _joined_lengths(kinds, patch, max_padding)
    sizes: dict[Any, int] = kinds.groupby(["modality", "dataset"], observed=True)["count"].sum().to_dict()
    total: dict[Any, int] = pd.Series(sizes).groupby(level=1).sum().to_dict()
    for name, limit in limits.items():
        check_known(name, total, ConfigError, "is not in the corpus", field=f"limits.{name}")
        if not limit > 0:
            raise ConfigError(f"{limit!r} is not a number above 0", field=f"limits.{name}")
    allowed = {pair: min(1.0, limits.get(pair[1], total[pair[1]]) / total[pair[1]]) for pair in sizes}
    fraction = fractions({pair: max(1, round(size * allowed[pair])) for pair, size in sizes.items()}, weights)
    shards = index["shard"].cat.codes.to_numpy() if "shard" in index else None
    labels, buckets = index.index.to_numpy(), []
    shape: Any
    dataset: Any
    for shape, members in kinds.groupby(_SHAPE, observed=True):
        cells = []
        for dataset, parts in members.groupby("dataset", observed=True):
            pair = (shape[0], dataset)
            places = np.concatenate([order[b : b + n] for b, n in zip(parts["begin"], parts["count"], strict=True)])
            weight, limit = fraction[pair] * len(places) / sizes[pair], max(1, round(len(places) * allowed[pair]))
            name, own = "/".join(map(str, (*shape, dataset))), None if shards is None else shards[places]
            cells.append(Cell(name, labels[places], weight, limit, own))
        tokens = int(shape[2]) * int(shape[3]) // patch
        tokens = tokens if tokens_per_window is None else min(tokens, tokens_per_window)
        most = [sum(cell.limit for cell in cells)]
        most += [] if batch_size is None else [batch_size]
        most += [] if tokens_per_batch is None else [max(1, tokens_per_batch // tokens)]
        buckets.append(Bucket("/".join(map(str, shape)), str(shape[0]), cells, min(most)))
    values = kinds["n_channels"].to_numpy(np.int64) * kinds["count"].to_numpy()
    return buckets, 1 - float((values * kinds["n_times"]).sum() / (values * kinds["padded"]).sum())


def _kinds(index: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The different values of COLUMNS, `count` rows each from place `begin` of an order of the rows, and that order."""
    code = np.zeros(len(index), np.int64)
    for name in COLUMNS:
        values, names = pd.factorize(index[name])
        code = code * len(names) + values
    code, _ = pd.factorize(code)
    if code.max() <= np.iinfo(np.uint16).max:
        code = code.astype(np.uint16)  # sorted by counting
    order, count = np.argsort(code, kind="stable"), np.bincount(code)
    begin = np.cumsum(count) - count
    return index[list(COLUMNS)].iloc[order[begin]].assign(begin=begin, count=count), order


def _joined_lengths(kinds: pd.DataFrame, patch: int, max_padding: float) -> np.ndarray:
    """The padded length of each kind: its own, or a longer one of which at most `max_padding` is padding."""
    padded = ceil_div(kinds["n_times"].to_numpy(np.int64), patch) * patch
    if max_padding > 0:
        for places in kinds.groupby(["modality", "sfreq", "n_channels"], observed=True).indices.values():
            longest = 0
            for length in np.unique(padded[places])[::-1].tolist():
                if length < (1 - max_padding) * longest or not longest:
                    longest = length
                padded[places[padded[places] == length]] = longest
    return padded
