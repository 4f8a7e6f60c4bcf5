"""Leak-free splits: a group (subject, session or run) never sits on both sides.

Own code, since scikit-learn's StratifiedGroupKFold balances windows instead of groups, so that subjects with many
windows decide who is tested together. Splits are made over the index of a corpus, before anything is fitted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LabelError, did_you_mean
from .nulls import joint

#: level -> columns of the corpus index whose values together name one group
GROUP_COLUMNS: dict[str, tuple[str, ...]] = {
    "subject": ("dataset", "subject"),
    "session": ("dataset", "subject", "session"),
    "run": ("dataset", "subject", "session", "task", "run"),
    "recording": ("dataset", "recording"),
}

Fold = tuple[np.ndarray, np.ndarray]


def group_keys(index: pd.DataFrame, level: str) -> np.ndarray:
    """One group name per row, such as "eegmat/01" for the level "subject".

    `level` is "subject", "session", "run", "recording", or any other column (`label.run`), taken within its dataset. A
    LabelError where the column is missing, or empty in some rows: an unnamed group could sit on both sides.
    """
    columns = GROUP_COLUMNS.get(level, ("dataset", level))
    missing = [name for name in columns if name not in index]
    if missing:
        fix = did_you_mean(level, [*GROUP_COLUMNS, *map(str, index)])
        raise LabelError(f"the index has no column {missing[0]!r}", field="split", fix=fix)
    coded = [pd.factorize(index[name]) for name in columns]  # -1 where unknown
    parts = [np.append(np.asarray(names, dtype=str), "")[codes] for codes, names in coded]
    if len(index) and (parts[-1] == "").any():
        raise LabelError(f"{columns[-1]!r} is empty in {(parts[-1] == '').sum()} of {len(index)} rows", field="split")
    both = joint(*(codes for codes, _ in coded))
    _, first, inverse = np.unique(both, return_index=True, return_inverse=True)
    return np.array(["/".join(part[row] for part in parts) for row in first], dtype=str)[inverse]


class CrossSubject:
    """K folds over groups, repeated with other assignments; where every group has one label, `y` stratifies them.

    Parameters
    ----------
    n_splits : int or None
        Folds per repeat; None leaves one group out.
    repeats, random_state : int
        Repeats, each with its own assignment of groups to folds; repeat r draws it with the seed random_state + r.
    """

    def __init__(self, n_splits: int | None = 6, repeats: int = 1, random_state: int = 0) -> None:
        self.n_splits, self.repeats, self.random_state = n_splits, repeats, random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds over all repeats."""
        return self.repeats * (self.n_splits or len(np.unique(groups)))

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield (train, test) row indices; a LabelError where there are fewer groups than folds."""
        groups = np.asarray(groups)
        names = np.unique(groups)
        n_splits = self.n_splits or len(names)
        if not 2 <= n_splits <= len(names):
            text, fix = f"{n_splits} folds over {len(names)} groups", f"choose 2 to {len(names)}"
            raise LabelError(text, field="n_splits", fix=fix)
        labels = None if y is None else label_of_groups(names, groups, np.asarray(y))
        for repeat in range(self.repeats):
            order = np.random.default_rng(self.random_state + repeat).permutation(len(names))
            parts = np.array_split(order, n_splits)
            if labels is not None:
                order = order[np.argsort(labels[order], kind="stable")]
                parts = [order[fold::n_splits] for fold in range(n_splits)]
            for part in parts:
                test = np.isin(groups, names[part])
                yield np.flatnonzero(~test), np.flatnonzero(test)


def label_of_groups(names: np.ndarray, groups: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Label code of each group, or None where folds are not stratified: it varies within groups, or is continuous."""
    codes = np.unique(y, return_inverse=True)[1]
    labels = np.zeros(len(names), int)
    for i, name in enumerate(names):
        inside = codes[groups == name]
        if (inside != inside[0]).any():
            return None
        labels[i] = inside[0]
    # a continuous target has as many values as groups: nothing to stratify by
    return labels if 1 < len(np.unique(labels)) <= len(names) // 2 else None


def match_sessions(index: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of each subject's first and last session, for subjects with at least two; session 10 comes after 2.

    `index` has one row per recording or session (a LabelError for two of one session, or fewer than two subjects).
    Returns row positions first and last, and the subjects they belong to.
    """
    subjects, sessions = group_keys(index, "subject"), group_keys(index, "session")

    def natural(row: Any) -> list[tuple[bool, int, str]]:
        """Compares the numbers in the name of a session as numbers."""
        parts = re.split(r"(\d+)", str(sessions[row]))
        return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]

    first, last, kept = [], [], []
    for subject in np.unique(subjects):
        rows = sorted(np.flatnonzero(subjects == subject), key=natural)
        if len(np.unique(sessions[rows])) < len(rows):
            raise LabelError(f"{subject} has two recordings of one session", field="session", fix="pool them first")
        if len(rows) > 1:
            first.append(rows[0])
            last.append(rows[-1])
            kept.append(subject)
    if len(kept) < 2:
        raise LabelError(f"{len(kept)} subjects have two sessions", field="session", fix="matching needs at least two")
    return np.array(first), np.array(last), np.array(kept)


def check_disjoint(groups: Sequence[str] | np.ndarray, folds: Iterable[Fold], start: int = 0) -> None:
    """Check that no fold (from `start` on) has a group on both sides, nor an empty one; LabelError names what leaks."""
    groups = np.asarray(groups)
    for number, (train, test) in enumerate(folds, start):
        shared = np.intersect1d(groups[train], groups[test])
        if len(shared):
            text = f"{str(shared[0])!r} is on both sides of fold {number}"
            raise LabelError(text, field="split", fix="split by group")
        if not len(train) or not len(test):
            raise LabelError(f"one side of fold {number} is empty", field="split")
