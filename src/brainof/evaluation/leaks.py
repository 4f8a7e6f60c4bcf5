"""Leak checks: what makes a score look better than it is, refused with the name of the leak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from ..corpus import Windows
from ..datasets.catalogue import overlaps
from ..errors import LabelError
from ..release.load import record_of
from ..stats.splits import check_disjoint, group_keys
from .folds import Split
from .suite import SuiteTask

#: MOABB's name of an evaluation by the level that no fold shares
EVALUATIONS = {"dataset": "CrossDataset", "subject": "CrossSubject", "session": "CrossSession", "run": "WithinSession"}
#: MOABB's name (`CrossSubjectMode`) for what is used of the person who is tested: nothing; all windows, unlabelled
NO_TARGET, UNLABELLED_TARGET = "train", "train_and_target_unlabeled_full"


def check_people(index: pd.DataFrame, folds: Sequence[Split], level: str) -> None:
    """Where a split is between people, no person is on two sides of a fold; of two datasets, they are two people."""
    if level == "subject":
        people = group_keys(index, "subject")
        check_disjoint(people, [(np.concatenate([split.train, split.validation]), split.test) for split in folds])


def check_duplicates(index: pd.DataFrame, folds: Sequence[Split]) -> None:
    """No window of a test side is, byte by byte, a window of its training side."""
    content = index["crc32c"].astype(str) + "-" + index["n_channels"].astype(str) + "x" + index["n_times"].astype(str)
    codes = content.to_numpy(dtype=str)
    if len(np.unique(codes)) == len(codes):
        return
    for number, split in enumerate(folds):
        shared = np.intersect1d(codes[split.train], codes[split.test])
        if len(shared):
            rows = [side[codes[side] == shared[0]][0] for side in (split.train, split.test)]
            one, two = (f"{row['recording']} at {row['onset']:g} s" for row in index.iloc[rows].to_dict("records"))
            text = f"the window of {one} is that of {two}: both sides of fold {number} hold it"
            raise LabelError(text, field="duplicates", fix="leave one of the recordings out")


def check_inductive(features: Callable[..., Any], split: Split) -> None:
    """Features that are fitted must not change with the test rows: neither the training side nor the others do."""
    half = split.test[: max(1, len(split.test) // 2)]
    (inside, outside), (again, part) = features(split.train, split.test), features(split.train, half)
    same = np.allclose(inside, again, rtol=1e-6, atol=1e-9, equal_nan=True)
    if not (same and np.allclose(outside[: len(half)], part, rtol=1e-6, atol=1e-9, equal_nan=True)):
        text = "change with the rows of the test side: something is fitted on test people"
        raise LabelError(text, field="features", fix="fit scaling and erasure on the training side")


def trained_on(run: str | PathLike[str]) -> set[str] | None:
    """Subjects ("dataset/subject") whose windows trained the model of a run or release; empty for a preset.

    None where the release is older than that list, so that nobody can tell.
    """
    data = record_of(run).get("data", ())
    if any("subjects" not in dataset for dataset in data):
        return None
    return {f"{dataset['dataset']}/{subject}" for dataset in data for subject in dataset["subjects"]}


def unseen_alone(task: SuiteTask, corpus: Windows, models: Sequence[str]) -> SuiteTask:
    """The task with the people that no model saw as those who are scored; the others stay on training sides.

    In tasks without a training side, where people are told from one another or compared with themselves, the others
    take no part. Models that do not say who trained them are left to `pretraining_overlap`. A LabelError where the
    models saw everybody.
    """
    index = corpus.index[(corpus.index["dataset"] == task.dataset).to_numpy()]
    seen = set[str]().union(*(trained_on(model) or () for model in models))
    people = dict(zip(group_keys(index, "subject"), index["subject"].astype(str), strict=True))
    left = sorted(name for key, name in people.items() if key not in seen and name not in task.leave_out)
    if not left:
        raise LabelError("the models saw all people in pretraining", field=f"{task.name}.tested")
    others = sorted(name for key, name in people.items() if key in seen and name not in task.leave_out)
    if task.kind in ("identification", "resolution"):
        return task.model_copy(update={"leave_out": (*task.leave_out, *others)})
    return task.model_copy(update={"tested": tuple(left)}) if others else task


def pretraining_overlap(model: str, index: pd.DataFrame) -> tuple[int, str]:
    """How many people of a task trained a model (without labels), and a sentence; 0 and "" for none.

    Named people count where the release lists them; beside them the registry of datasets that hold one another.
    """
    people = set(group_keys(index, "subject"))
    seen = trained_on(model)
    if seen is None:
        return 0, "its release does not say which people trained it"
    if both := people & seen:
        return len(both), f"pretraining saw {len(both)} of {len(people)} people ({min(both)} is one)"
    trained = {str(dataset["dataset"]) for dataset in record_of(model).get("data", ())}
    for evaluation in sorted(set(index["dataset"].astype(str))) if trained else ():
        others = trained - {evaluation}  # of the evaluation set itself the people are listed
        for name, overlap in sorted(overlaps(evaluation, others).items()) if others else ():
            if overlap.kind == "contains":
                return len(people), f"it was trained on {name}, which contains {evaluation} ({overlap.why})"
    return 0, ""
