"""Label-permutation nulls: what the same folds and the same probe score when labels mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np


def permutations(
    y: np.ndarray,
    groups: np.ndarray,
    recordings: np.ndarray,
    rng: np.random.Generator,
    *,
    onsets: np.ndarray | None = None,
    strata: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Labels without end, exchanged between the largest pieces that the label may be exchanged between.

    Windows of one recording are alike for reasons that have nothing to do with the label, so single windows are never
    exchanged. Where the label

    - changes inside recordings, the runs of equal label of each recording are put into another order;
    - is constant in recordings but varies in a group, the recordings of a group exchange labels;
    - belongs to the group (diagnosis, age), groups exchange labels.

    `groups` (subjects or runs) are the units of the folds, `onsets` the times of windows in their recording (by default
    the order of rows). `strata` are a nuisance (site, scanner), constant within a recording: labels are exchanged only
    where it is the same. The null then scores whatever the nuisance alone explains, and a label that follows the
    nuisance altogether stays as it is (p = 1).
    """
    groups = joint(groups)  # numbers, which sort faster than names
    recordings = joint(groups, recordings)
    if constant_within(y, recordings):
        if not constant_within(y, groups):
            return exchanged(y, recordings, groups if strata is None else joint(groups, strata), rng)
        owners = np.zeros(len(y), int) if strata is None else joint(strata)
        return exchanged(y, joint(groups, owners), owners, rng)
    return _in_another_order(y, recordings, np.arange(len(y)) if onsets is None else onsets, rng)


def labellings(n: int, y: np.ndarray, *units: Any, **options: Any) -> np.ndarray:
    """The labels in column 0 and `n` permutations of them in the others; arguments as of `permutations`."""
    return np.stack([y, *islice(permutations(y, *units, **options), n)], axis=1)


def exchanged(y: np.ndarray, units: np.ndarray, owners: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Units of one owner exchange labels."""
    _, first, code = np.unique(units, return_index=True, return_inverse=True)
    owner = joint(owners[first])
    members = [np.flatnonzero(owner == name) for name in range(owner.max(initial=-1) + 1)]
    while True:
        label = y[first]
        for inside in members:
            label[inside] = label[rng.permutation(inside)]
        yield label[code]


def _in_another_order(
    y: np.ndarray, recordings: np.ndarray, onsets: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Runs of equal label change places in their recording.

    They keep their lengths, so that a rare event stays short and neighbouring windows keep one label.
    """
    order = np.lexsort((onsets, recordings))
    parts = np.split(order, np.flatnonzero(np.diff(recordings[order])) + 1)
    runs = [np.split(y[rows], np.flatnonzero(y[rows][1:] != y[rows][:-1]) + 1) for rows in parts]
    while True:
        permuted = y.copy()
        permuted[order] = np.concatenate([own[i] for own in runs for i in rng.permutation(len(own))])
        yield permuted


def constant_within(y: np.ndarray, units: np.ndarray) -> bool:
    """Whether every unit has one label."""
    _, first, code = np.unique(units, return_index=True, return_inverse=True)
    return bool((y == y[first][code]).all())


def joint(*keys: np.ndarray) -> np.ndarray:
    """Code of the combination of several keys per row."""
    code = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        values, own = np.unique(key, return_inverse=True)
        code = np.unique(code * len(values) + own, return_inverse=True)[1]
    return code


def p_value(observed: float, null: np.ndarray, larger_is_better: bool = True) -> float:
    """Fraction of the null at least as good as the observed score, the observed one counted in (never 0)."""
    null = np.asarray(null)[np.isfinite(null)]
    extreme = null >= observed - 1e-12 if larger_is_better else null <= observed + 1e-12
    return float((1 + extreme.sum()) / (1 + len(null)))
