"""Label-permutation nulls: what the same folds and the same probe score when labels mean nothing."""

from __future__ import annotations

import numpy as np


def permutation_units(y: np.ndarray, groups: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """The smallest pieces whose labels may be exchanged, as codes per row.

    Windows of one recording are alike for reasons that have nothing to do with the label. Where the label is constant
    in every recording, whole recordings are exchanged; shuffling windows would make the null too narrow.
    """
    pieces = np.array([f"{group}/{recording}" for group, recording in zip(groups, recordings, strict=True)])
    _, first, code = np.unique(pieces, return_index=True, return_inverse=True)
    return code if len(first) and (y == y[first][code]).all() else np.arange(len(y))


def permute_labels(
    y: np.ndarray,
    groups: np.ndarray,
    units: np.ndarray,
    rng: np.random.Generator,
    how: str = "auto",
    strata: np.ndarray | None = None,
) -> np.ndarray:
    """Exchange labels between units.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Labels or targets, constant within a unit.
    groups : ndarray, shape (n,)
        People (or runs).
    units : ndarray of int, shape (n,)
        From `permutation_units`.
    rng : Generator
    how : {"auto", "within", "between"}
        Within each group, or over all units. "auto" permutes within groups wherever labels vary there, which keeps
        each person's label counts; labels that belong to the person (diagnosis, age) are exchanged between people.
    strata : ndarray, shape (n,), optional
        A nuisance (site, scanner), constant within a unit: labels are exchanged only where it is the same. The null
        then scores whatever the nuisance alone explains, and a label that follows the nuisance altogether is left as
        it is (p = 1).

    Returns
    -------
    permuted : ndarray, shape (n,)
    """
    _, first, code = np.unique(units, return_index=True, return_inverse=True)
    label, owner = y[first].copy(), groups[first]
    if how == "auto":
        varies = any(len(np.unique(label[owner == name])) > 1 for name in np.unique(owner))
        how = "within" if varies else "between"
    if strata is not None:
        permuted = y.copy()
        for value in np.unique(strata):
            rows = np.flatnonzero(strata == value)
            permuted[rows] = permute_labels(y[rows], groups[rows], units[rows], rng, how)
        return permuted
    if how == "within":
        for name in np.unique(owner):
            rows = np.flatnonzero(owner == name)
            label[rows] = label[rng.permutation(rows)]
        return label[code]
    # a label that belongs to the person moves with all of the person's units
    people, member = np.unique(owner, return_inverse=True)
    own = [np.unique(label[member == i]) for i in range(len(people))]
    if all(len(values) == 1 for values in own):
        return np.array([values[0] for values in own])[rng.permutation(len(people))][member][code]
    return label[rng.permutation(len(label))][code]


def p_value(observed: float, null: np.ndarray, larger_is_better: bool = True) -> float:
    """Share of the null at least as good as the observed score, the observed one counted in (never 0)."""
    null = np.asarray(null)[np.isfinite(null)]
    extreme = null >= observed - 1e-12 if larger_is_better else null <= observed + 1e-12
    return float((1 + extreme.sum()) / (1 + len(null)))
