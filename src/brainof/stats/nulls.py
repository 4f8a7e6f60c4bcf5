"""Label-permutation nulls: what the same folds and the same probe score when labels mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np


def permute_labels(
    y: np.ndarray,
    groups: np.ndarray,
    recordings: np.ndarray,
    rng: np.random.Generator,
    *,
    onsets: np.ndarray | None = None,
    strata: np.ndarray | None = None,
) -> np.ndarray:
    """Labels exchanged between the largest pieces that the label may be exchanged between.

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
    recordings = joint(groups, recordings)
    if not constant_within(y, recordings):
        # runs keep their lengths, so that a rare event stays short and neighbouring windows keep one label
        permuted, times = y.copy(), np.arange(len(y)) if onsets is None else onsets
        for recording in np.unique(recordings):
            rows = np.flatnonzero(recordings == recording)
            rows = rows[np.argsort(times[rows], kind="stable")]
            runs = np.split(y[rows], np.flatnonzero(y[rows][1:] != y[rows][:-1]) + 1)
            permuted[rows] = np.concatenate([runs[i] for i in rng.permutation(len(runs))])
        return permuted
    if not constant_within(y, groups):
        return exchange(y, recordings, groups if strata is None else joint(groups, strata), rng)
    owners = np.zeros(len(y), int) if strata is None else strata
    return exchange(y, joint(groups, owners), owners, rng)


def labellings(
    n: int, y: np.ndarray, groups: np.ndarray, recordings: np.ndarray, rng: np.random.Generator, **options: Any
) -> np.ndarray:
    """The labels in column 0 and `n` permutations of them in the others; arguments as of `permute_labels`."""
    groups, recordings = joint(groups), joint(recordings)  # numbers sort many times faster than names
    return np.stack([y, *(permute_labels(y, groups, recordings, rng, **options) for _ in range(n))], axis=1)


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


def exchange(y: np.ndarray, units: np.ndarray, owners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Units of one owner exchange labels."""
    _, first, code = np.unique(units, return_index=True, return_inverse=True)
    label, owner = y[first], owners[first]
    for name in np.unique(owner):
        inside = np.flatnonzero(owner == name)
        label[inside] = label[rng.permutation(inside)]
    return label[code]


def p_value(observed: float, null: np.ndarray, larger_is_better: bool = True) -> float:
    """Fraction of the null at least as good as the observed score, the observed one counted in (never 0)."""
    null = np.asarray(null)[np.isfinite(null)]
    extreme = null >= observed - 1e-12 if larger_is_better else null <= observed + 1e-12
    return float((1 + extreme.sum()) / (1 + len(null)))
