"""Which windows can share a batch (by shape), how much of them is padding, and how often each dataset is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from ..errors import ConfigError, check_known, did_you_mean
from ..utils.values import ceil_div

#: Columns of an index that a sampler looks at (and `shard` where shards are mixed)
COLUMNS = ("modality", "dataset", "sfreq", "n_channels", "n_times")
_SHAPE = ["modality", "sfreq", "n_channels", "padded"]

#: A rule is a word, {"temperature": T}, or a mapping of names to weights
Rule = str | Mapping[str, float] | None

#: The keys of a rule that is no mapping of names
TEMPERATURE = {"temperature"}


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
    size: int  # Most windows that an epoch visits where no weights are given
    weight: float  # Fraction of the drawn windows


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
    total = _sums(sizes, 1)
    for name, limit in limits.items():
        check_known(name, total, ConfigError, "is not in the corpus", field=f"limits.{name}")
        if not limit > 0:
            raise ConfigError(f"{limit!r} is not a number above 0", field=f"limits.{name}")
    allowed = {pair: min(1.0, limits.get(pair[1], total[pair[1]]) / total[pair[1]]) for pair in sizes}
    fraction = fractions({pair: max(1, round(size * allowed[pair])) for pair, size in sizes.items()}, weights)
    shards = index["shard"].cat.codes.to_numpy() if "shard" in index else None
    labels, buckets = index.index.to_numpy(), []
    for shape, members in cast("Any", kinds.groupby(_SHAPE, observed=True)):
        cells = []
        for dataset, parts in members.groupby("dataset", observed=True):
            pair = (shape[0], dataset)
            places = np.concatenate([order[b : b + n] for b, n in zip(parts["begin"], parts["count"], strict=True)])
            weight, limit = fraction[pair] * len(places) / sizes[pair], max(1, round(len(places) * allowed[pair]))
            name, own = "/".join(map(str, (*shape, dataset))), None if shards is None else shards[places]
            cells.append(Cell(name, labels[places], weight, limit, own))
        tokens = int(shape[2]) * int(shape[3]) // patch
        tokens = tokens if tokens_per_window is None else min(tokens, tokens_per_window)
        size, weight = sum(cell.limit for cell in cells), sum(cell.weight for cell in cells)
        most = [size] if batch_size is None else [size, batch_size]
        most += [] if tokens_per_batch is None else [max(1, tokens_per_batch // tokens)]
        buckets.append(Bucket("/".join(map(str, shape)), str(shape[0]), cells, min(most), size, weight))
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


def fractions(sizes: Mapping[tuple[str, str], int], weights: Mapping[str, Any] | None) -> dict[tuple[str, str], float]:
    """Fraction of the drawn windows that each (modality, dataset) of `sizes` (windows there are) gets; they sum to 1.

    `weights` holds rules under "modality" and "dataset". A rule is "proportional" (to the number of windows, the
    default), "equal", {"temperature": T} (proportional to n ** (1 / T): 1 is proportional, more is more equal), or
    explicit weights by name, above 0 for every name there is. The dataset rule divides what the modality rule gives to
    a modality; without a modality rule it divides everything.

    Raises ConfigError: a rule or a name is unknown, a name is missing, or a weight is not above 0.
    """
    weights = weights or {}
    for key in weights:
        check_known(key, ("modality", "dataset"), ConfigError, "unknown key", field=f"weights.{key}")
    modalities, datasets = _sums(sizes, 0), _sums(sizes, 1)
    rule = weights.get("dataset")
    if isinstance(rule, Mapping) and set(rule) != TEMPERATURE:
        # a dataset of several modalities divides its weight by their sizes
        given = _evaluate("dataset", rule, datasets)
        drawn = {pair: given[pair[1]] * size / datasets[pair[1]] for pair, size in sizes.items()}
    else:
        drawn = _evaluate("dataset", rule, sizes)
    if weights.get("modality") is not None:
        wanted = _evaluate("modality", weights["modality"], modalities)
        have = _sums(drawn, 0)
        drawn = {pair: weight * wanted[pair[0]] / have[pair[0]] for pair, weight in drawn.items()}
    whole = sum(drawn.values())
    return {pair: weight / whole for pair, weight in drawn.items()}


def _sums(values: Mapping[tuple[str, str], Any], level: int) -> dict[str, Any]:
    """Sums of pairs by their name of a level, in the order of names."""
    found = dict.fromkeys(sorted({pair[level] for pair in values}), 0)
    for pair, value in values.items():
        found[pair[level]] += value
    return found


def _evaluate(kind: str, rule: Rule, sizes: Mapping[Any, int]) -> dict[Any, float]:
    if rule is None or rule == "proportional":
        return {name: float(size) for name, size in sizes.items()}
    if rule == "equal":
        return dict.fromkeys(sizes, 1.0)
    if not isinstance(rule, Mapping):
        fix = did_you_mean(str(rule), ("proportional", "equal", "temperature"))
        raise ConfigError(f"unknown rule {rule!r}", field=f"weights.{kind}", fix=fix)
    if set(rule) == TEMPERATURE:
        temperature = _positive(f"weights.{kind}.temperature", rule["temperature"])
        return {name: float(size) ** (1 / temperature) for name, size in sizes.items()}
    for name in rule:
        check_known(name, sizes, ConfigError, "is not in the corpus", field=f"weights.{kind}.{name}")
    for name in sizes:
        if name not in rule:
            fix = f"give it a weight, or leave the {kind} out of the selection"
            raise ConfigError("has no weight", field=f"weights.{kind}.{name}", fix=fix)
    return {name: _positive(f"weights.{kind}.{name}", rule[name]) for name in sizes}


def _positive(field: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 < number < np.inf:
        raise ConfigError(f"{value!r} is not a number above 0", field=field)
    return number
