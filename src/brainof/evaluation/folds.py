"""Folds of a task: cross-validation by group, two levels held out at once, published splits, split files.

Every fold is (train, validation, test) row numbers; validation is empty where the split does not name it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..corpus.index import LABEL
from ..errors import LabelError, check_known, did_you_mean
from ..paths import user_path
from ..stats.splits import CrossSubject, check_disjoint, group_keys
from ..utils.files import parse_json
from .protocol import Task
from .sources import SIDE, TEST, TRAIN, WINDOW
from .suite import SuiteTask


class Split(NamedTuple):
    """Row numbers of the sides of one fold, among the rows of the task."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


#: Parts of the values of a second level that are held out one after the other
ALSO_PARTS = 4

#: The validation side of a split that names none
NONE = np.zeros(0, np.int64)


def task_folds(index: pd.DataFrame, task: Task, y: np.ndarray | None) -> tuple[np.ndarray, list[Split]]:
    """Groups of the task's rows and its folds, checked to be free of leaks; not stratified without labels."""
    groups = group_keys(index, task.split)
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise LabelError(f"one {task.split} only ({groups[0]})", field=f"{task.name}.split", fix="split by run")
    n_splits = n_groups if task.n_splits is None else min(task.n_splits, n_groups)
    repeats = 1 if n_splits == n_groups else task.repeats  # leaving one out has no second assignment
    splitter = CrossSubject(n_splits, repeats, task.random_state)
    folds = list(splitter.split(y=y if task.kind == "classification" else None, groups=groups))
    check_disjoint(groups, folds)
    return groups, [Split(train, NONE, test) for train, test in folds]


def splits(index: pd.DataFrame, task: SuiteTask, y: np.ndarray, seeds: int = 1) -> tuple[np.ndarray, list[Split]]:
    """Groups and folds of the rows of a task (index and `y` are of these); `seeds` draws of `task.fractions`.

    A LabelError where a split names a group that is not there, a side is empty, a group is on two sides, or the
    training side of a fold has one class.
    """
    if task.sided:
        return between_sides(index, task, y, seeds)
    groups = group_keys(index, task.split)
    known = task.as_published
    if known is not None and known.test:
        column = known.by if known.by in index else f"{LABEL}{known.by}"
        if column not in index:
            fix = did_you_mean(known.by, map(str, index))
            raise LabelError(f"no entity or label {known.by!r}", field="published_split.by", fix=fix)
        members = index[column].astype("string").fillna("").to_numpy(dtype=str)
        found = [named(members, _sides(known.to_dict()), f"{task.name}.published_split")]
    elif task.split_file:
        subjects = index["subject"].astype(str).to_numpy() if task.split == "subject" else groups
        found = [named(subjects, sides, task.split_file) for sides in read_splits(task.split_file)]
        for number, (train, validation, test) in enumerate(found):
            check_disjoint(subjects, [(train, test)], number)
            if len(validation):
                check_disjoint(subjects, [(train, validation)], number)
                check_disjoint(subjects, [(validation, test)], number)
    elif task.fractions is not None:
        found = [fractions(groups, task, seed) for seed in range(seeds)]
    else:
        groups, found = task_folds(index, task, y)
        if task.also:
            found = both_held_out(found, index, task)
    found = only_tested(found, index, task)
    for number, split in enumerate(found):
        if not len(split.train) or not len(split.test):
            raise LabelError(f"one side of fold {number} is empty", field=f"{task.name}.split")
        if task.kind == "classification" and len(np.unique(y[split.train])) < 2:
            text = f"fold {number} trains on one class only ({len(split.train)} windows)"
            raise LabelError(text, field=f"{task.name}.{task.label}", fix="give fewer folds, or another split")
    return groups, found


def of_subjects(index: pd.DataFrame, names: Sequence[str], field: str) -> np.ndarray:
    """Whether each row is of these subjects; a LabelError for one that is not there."""
    subjects = index["subject"].astype(str)
    known = set(subjects)
    for name in names:
        check_known(name, known, LabelError, "no subject {!r}", field=field)
    return subjects.isin(names).to_numpy()


def only_tested(folds: list[Split], index: pd.DataFrame, task: SuiteTask) -> list[Split]:
    """The folds with nobody but `task.tested` on their test sides; folds that test nobody then are left out."""
    if not task.tested:
        return folds
    tested = of_subjects(index, task.tested, f"{task.name}.tested")
    kept = [split._replace(test=split.test[tested[split.test]]) for split in folds]
    return [split for split in kept if len(split.test)]


def between_sides(index: pd.DataFrame, task: SuiteTask, y: np.ndarray, seeds: int) -> tuple[np.ndarray, list[Split]]:
    """Folds of the test side, whose training rows are the same windows on the training side, or all of another
    dataset."""
    side = index[SIDE].to_numpy(dtype=str)
    inside, outside = np.flatnonzero(side == TRAIN), np.flatnonzero(side == TEST)
    groups = group_keys(index, task.split)
    if task.train_on is not None and task.train_on.recipe:
        return groups, [Split(inside, NONE, outside)]
    there = index.iloc[outside].reset_index(drop=True)
    _, found = splits(there, task.model_copy(update={"train_on": None, "test_on": None}), y[outside], seeds)
    place = pd.Series(inside, index=index[WINDOW].iloc[inside].to_numpy(dtype=str))
    same = place.loc[there[WINDOW].to_numpy(dtype=str)].to_numpy()
    return groups, [Split(same[split.train], same[split.validation], outside[split.test]) for split in found]


def both_held_out(folds: Sequence[Split], index: pd.DataFrame, task: SuiteTask) -> list[Split]:
    """Each fold's test side cut by the second level (run 3 of everybody), whose values leave the training side."""
    values = index[task.also].astype("string").fillna("").to_numpy(dtype=str)
    if (values == "").any():
        raise LabelError(f"{task.also!r} is empty in some rows", field=f"{task.name}.also")
    parts = [part for part in np.array_split(np.unique(values), min(ALSO_PARTS, len(np.unique(values)))) if len(part)]
    found = []
    for split in folds:
        for part in parts:
            inside = np.isin(values, part)
            found.append(Split(split.train[~inside[split.train]], NONE, split.test[inside[split.test]]))
    return found


def fractions(groups: np.ndarray, task: SuiteTask, seed: int) -> Split:
    """One draw of train, validation and test groups."""
    assert task.fractions is not None
    names = np.random.default_rng(task.random_state + seed).permutation(np.unique(groups))
    ends = np.round(np.cumsum(task.fractions) / sum(task.fractions) * len(names)).astype(int)
    sides = [names[: ends[0]], names[ends[0] : ends[1]], names[ends[1] :]]
    return Split(*(np.flatnonzero(np.isin(groups, side)) for side in sides))


def named(values: np.ndarray, sides: Mapping[str, Sequence[str]], where: str) -> Split:
    """Rows of the sides of a split that lists its members; a LabelError names one that is not among `values`."""
    known = set(values.tolist())
    for side, members in sides.items():
        for member in members:
            check_known(member, known, LabelError, "names {!r}, which is not here", field=f"{where}.{side}")
    return Split(*(np.flatnonzero(np.isin(values, list(sides[side]))) for side in ("train", "validation", "test")))


def read_splits(path: str | Path) -> list[dict[str, list[str]]]:
    """The folds of a split file; a LabelError where it is missing or holds something else."""
    file = user_path(path, LabelError)
    try:
        return [_sides(fold) for fold in parse_json(file.read_text())]
    except FileNotFoundError:
        raise LabelError("file not found", file=path, field="split_file") from None
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        fix = "write [{train, test}]"
        raise LabelError(f"holds no folds ({error})", file=path, field="split_file", fix=fix) from None


def _sides(fold: Mapping[str, Any]) -> dict[str, list[str]]:
    return {side: [str(name) for name in fold.get(side, ())] for side in ("train", "validation", "test")}
