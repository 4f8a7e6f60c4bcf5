"""Tasks: which windows of a corpus, which label, which split. A task is a small serialisable object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from ..corpus.index import LABEL
from ..errors import LabelError, did_you_mean
from ..schema import Schema
from ..stats.splits import group_keys

if TYPE_CHECKING:
    from ..corpus import Windows


class Task(Schema):
    """One question asked of embeddings and baselines alike.

    `split` is the group that never sits on both sides: "subject", "session", "run" or a column of the index. For
    identification it is not used: each subject's first session is matched with the last.
    """

    name: str
    view: str
    label: str = ""
    kind: Literal["classification", "regression", "identification", "matching", "resolution"] = "classification"
    dataset: str | None = None
    modality: str | None = None
    split: str = "subject"
    n_splits: int | None = Field(default=6, ge=2)
    """Folds per repeat, at most one per group; None leaves one group out."""
    repeats: int = Field(default=5, ge=1)
    """Cross-validations, each with other folds: which groups are tested together moves the score."""
    random_state: int = 0
    baselines: list[str] | None = None
    """Names of classical baselines; None takes the modality's default ones."""
    nuisance: str = ""
    """Label (such as "site") whose effect a second null keeps: labels are exchanged only where it is the same."""

    @property
    def column(self) -> str:
        """The column of the index that holds the label."""
        return f"{LABEL}{self.label}"


def recipe_tasks(corpus: Windows) -> list[Task]:
    """The tasks that the recipes of a corpus define, named "dataset/task"; runs are left out one at a time."""
    tasks = []
    for name, about in corpus.datasets.items():
        for task, values in about.get("tasks", {}).items():
            own = {"label": values["label"]} | {key: values[key] for key in ("kind", "split") if key in values}
            if own.get("split", "subject") != "subject":
                own["n_splits"] = None
            data = {"dataset": name, "modality": about["modality"], "view": about["task_views"][task]}
            tasks.append(Task(name=f"{name}/{task}", **data, **own))
    return tasks


def task_rows(index: pd.DataFrame, task: Task) -> np.ndarray:
    """Positions of the windows of a task in a corpus index; a LabelError names what no window has."""
    chosen = np.ones(len(index), bool)
    asked = {"view": task.view, "dataset": task.dataset, "modality": task.modality}
    for column, value in asked.items():
        if value is None:
            continue
        values = index[column].astype("string").fillna("").to_numpy(dtype=str)
        matched = chosen & (values == value)
        if not matched.any():
            fix = did_you_mean(value, np.unique(values[chosen]).tolist())
            raise LabelError(f"no window has {value!r}", field=f"{task.name}.{column}", fix=fix)
        chosen = matched
    if task.kind != "identification":
        chosen &= label_values(index, task.label, f"{task.name}.label") != ""
        if not chosen.any():
            raise LabelError("no window is labelled", field=f"{task.name}.{task.label}")
    return np.flatnonzero(chosen)


def label_values(index: pd.DataFrame, label: str, field: str) -> np.ndarray:
    """A label of each row as text, "" where it is not known; a LabelError at `field` where the corpus has none."""
    column = f"{LABEL}{label}"
    if column not in index:
        known = [str(name)[len(LABEL) :] for name in index if str(name).startswith(LABEL)]
        fix = did_you_mean(label, known) if known else "prepare it with a recipe that has labels"
        raise LabelError(f"the corpus has no label {label!r}", field=field, fix=fix)
    return index[column].astype("string").fillna("").to_numpy(dtype=str)


def targets(index: pd.DataFrame, task: Task) -> tuple[np.ndarray, list[str]]:
    """Class codes and class names, or float targets and no names, of task rows; a LabelError where they are none."""
    text = index[task.column].astype("string").to_numpy(dtype=str)
    if task.kind == "regression":
        try:
            values = text.astype(np.float64)
        except ValueError as error:
            raise LabelError(str(error), field=f"{task.name}.{task.label}", fix="regression takes numbers") from None
        if not np.isfinite(values).all():
            row = index.iloc[int(np.flatnonzero(~np.isfinite(values))[0])]
            n, where = int((~np.isfinite(values)).sum()), f"{row['recording']} at {row['onset']:g} s"
            problem = f"{n} targets are not finite, the first in {where}"
            raise LabelError(problem, field=f"{task.name}.{task.label}", fix="leave those recordings out")
        return values, []
    names, codes = np.unique(text, return_inverse=True)
    if len(names) < 2:
        raise LabelError(f"one class only, {names.tolist()}", field=f"{task.name}.{task.label}")
    return codes, names.tolist()


def nuisance_of(index: pd.DataFrame, task: Task) -> np.ndarray:
    """Value of the task's nuisance in each row, as text; a LabelError where a recording holds several."""
    values = label_values(index, task.nuisance, f"{task.name}.nuisance")
    recordings = group_keys(index, "recording")
    for name in np.unique(recordings):
        if len(set(values[recordings == name])) > 1:
            raise LabelError(f"varies within {name}", field=f"{task.name}.nuisance", fix="name a label of recordings")
    return values


def task_windows(corpus: Windows, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Windows of a task on the channels that all its recordings share (a LabelError where none), and their rates."""
    table = corpus.index.iloc[rows]
    sets = table["channel_set"].astype(str).to_numpy()
    names = {digest: corpus.channels(digest).names for digest in np.unique(sets)}
    first = names[sets[0]]
    shared = [name for name in first if all(name in other for other in names.values())]
    if not shared:
        raise LabelError("its recordings share no channel", field="channels", fix="use baselines on one montage")
    picks = {digest: [own.index(name) for name in shared] for digest, own in names.items()}
    windows = [corpus.read(int(row))[picks[digest]].astype(np.float32) for row, digest in zip(rows, sets, strict=True)]
    return windows, table["sfreq"].to_numpy(dtype=float)
