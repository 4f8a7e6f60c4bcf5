"""A task resolved to arrays: rows, labels, groups and folds, the same for everything that is scored on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..corpus import Windows
from ..datasets import find_recipe
from ..errors import ConfigError, LabelError, did_you_mean
from ..stats.compare import pseudo_values
from ..stats.metrics import METRICS, average_within, per_group
from ..stats.nulls import constant_within, labellings
from ..stats.splits import CrossSubject, group_keys, label_of_groups
from .decoding import mean_by_name
from .folds import Split, only_tested, splits
from .identity import Matching, matching
from .leaks import check_duplicates, check_people
from .matching import Segments, segments
from .protocol import nuisance_of, targets, task_rows
from .resolution import Fewer, Resolutions, resolutions
from .suite import SuiteTask

DECODING = ("classification", "regression")


@dataclass(frozen=True, eq=False)
class Question:
    """Everything about a task that does not depend on features; `rows` number the corpus, all other arrays go by them.

    Identification and matching have no folds, but `pairs`: what is matched with what. `partner` are the rows of the
    second modality of a fused task, of the same people.
    """

    task: SuiteTask
    corpus: Windows
    rows: np.ndarray
    index: pd.DataFrame
    y: np.ndarray
    classes: list[str]
    groups: np.ndarray
    recordings: np.ndarray
    folds: list[Split]
    pairs: Matching | Segments | Resolutions | None = None
    partner: np.ndarray | None = None

    def beside(self, values: np.ndarray, partner_values: np.ndarray | None) -> np.ndarray:
        """Features of each window, and beside them the person's mean over the second modality where there is one."""
        if self.partner is None or partner_values is None:
            return values
        theirs = self.corpus.index.iloc[self.partner]["subject"].astype(str).to_numpy()
        means = {name: partner_values[theirs == name].mean(axis=0) for name in np.unique(theirs)}
        own = self.index["subject"].astype(str)
        return np.concatenate([values, np.stack([means[name] for name in own])], axis=1)

    @property
    def decodes(self) -> bool:
        return self.task.kind in DECODING

    @property
    def metric(self) -> str:
        """The tested metric."""
        if not self.decodes:
            return "top1"
        return self.task.metric or next(iter(METRICS[self.task.kind]))

    @property
    def digest(self) -> str:
        """Changes with the task, the windows, the labels or the folds."""
        state = hashlib.sha256(json.dumps(self.task.to_dict(), sort_keys=True).encode())
        for column in ("recording", "onset", "crc32c"):
            state.update("\n".join(self.index[column].astype(str)).encode())
        state.update("\n".join(map(str, self.y)).encode())
        for split in self.folds:
            for side in split:
                state.update(np.asarray(side, np.int64).tobytes())
        return state.hexdigest()[:24]

    @property
    def people(self) -> np.ndarray:
        """`dataset/subject` of each row."""
        return group_keys(self.index, "subject")

    def measure(self, y: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> float:
        """The metric of some rows, of windows or of whole recordings."""
        y, scores, _ = self._levelled(y, scores, rows)
        return METRICS[self.task.kind][self.metric](y, scores)

    def by_group(self, parts: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Group -> its score, from the (rows, scores) of each test side.

        The metric inside the group (or inside its recordings, averaged); the group's pseudo-value where labels belong
        to groups, with the test sides of one repeat put together.
        """
        metric, found = METRICS[self.task.kind][self.metric], []
        belongs = constant_within(self.y, self.groups)
        tested = len(np.unique(np.concatenate([rows for rows, _ in parts])))
        for rows, scores in _repeats(parts, tested) if belongs else parts:
            y, scores, rows = self._levelled(self.y[rows], scores, rows)
            groups = self.groups[rows]
            if not belongs and self.task.within == "recording":
                inside = per_group(metric, y, scores, self.recordings[rows])
                owner = dict(zip(self.recordings[rows].tolist(), groups.tolist(), strict=True))
                found.append(mean_by_name([{owner[recording]: value} for recording, value in inside.items()]))
            else:
                found.append((pseudo_values if belongs else per_group)(metric, y, scores, groups))
        return mean_by_name(found)

    def _levelled(
        self, y: np.ndarray, scores: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.task.level == "window":
            return y, scores, rows
        averaged = average_within(y, scores, self.recordings[rows])
        if averaged is None:
            text = "its label changes inside recordings"
            raise ConfigError(text, field=f"{self.task.name}.level", fix="choose level: window")
        return averaged[0], averaged[1], rows[averaged[2]]

    def at(self, sfreq: float | None, dropped: float = 0.0) -> Question:
        """The same windows at another resolution."""
        assert isinstance(self.pairs, Resolutions)
        corpus: Any = Fewer(self.corpus, dropped) if dropped else self.corpus
        rows = self.pairs.rows[sfreq]
        return replace(self, corpus=corpus, rows=rows, index=corpus.index.iloc[rows].reset_index(drop=True))

    def labellings(self, n: int, nuisance: bool = False) -> np.ndarray:
        """The labels in column 0, `n` permutations of them (that keep the nuisance) in the others."""
        rng, onsets = np.random.default_rng(self.task.random_state), self.index["onset"].to_numpy(dtype=float)
        strata = nuisance_of(self.index, self.task) if nuisance else None
        return labellings(n, self.y, self.groups, self.recordings, rng, onsets=onsets, strata=strata)

    def null_folds(self) -> list[Split]:
        """Folds of the permutation test: those of the task, or ones that know no labels where its are stratified."""
        task = self.task
        stratified = (
            task.kind == "classification"
            and not (task.published or task.split_file or task.fractions or task.sided)
            and label_of_groups(np.unique(self.groups), self.groups, self.y) is not None
        )
        if not stratified:
            return self.folds
        n = len(np.unique(self.groups))
        splitter = CrossSubject(min(task.n_splits or n, n), 1, task.random_state)
        folds = [Split(train, test[:0], test) for train, test in splitter.split(groups=self.groups)]
        return only_tested(folds, self.index, task)

    @property
    def tested(self) -> pd.DataFrame:
        """The rows of the people who are scored."""
        names = self.task.tested
        return self.index[self.index["subject"].astype(str).isin(names)] if names else self.index


def ask(task: SuiteTask, corpus: Windows, seeds: int = 1) -> Question:
    """Resolve a task on a corpus; a LabelError or ConfigError where something does not fit or leaks."""
    pairs: Matching | Segments | Resolutions | None = None
    rates: Resolutions | None = None
    if task.kind == "resolution":
        if not task.changes:
            raise ConfigError(
                "none", field=f"{task.name}.changes", fix="write changes: [{sfreq: 128}, {dropped: 0.333}]"
            )
        rates = resolutions(corpus.index, task.name, str(task.dataset), task.rates)
    rows = rates.rows[None] if rates is not None else task_rows(corpus.index, task)
    if task.leave_out:
        subjects = corpus.index.iloc[rows]["subject"].astype(str)
        for name in set(task.leave_out) - set(subjects):
            fix = did_you_mean(name, set(subjects))
            raise LabelError(f"no subject {name!r}", field=f"{task.name}.leave_out", fix=fix)
        kept = ~subjects.isin(task.leave_out).to_numpy()
        rows = rows[kept]
        if rates is not None:  # the same windows at every rate
            rates = replace(rates, rows={sfreq: own[kept] for sfreq, own in rates.rows.items()})
    partner = _partner(task, corpus, rows) if task.fuse else None
    if partner is not None:
        both = set(corpus.index.iloc[partner]["subject"].astype(str))
        rows = rows[corpus.index.iloc[rows]["subject"].astype(str).isin(both)]
    index = corpus.index.iloc[rows].reset_index(drop=True)
    recordings = group_keys(index, "recording")
    if task.kind not in DECODING:
        if task.kind == "matching":
            names = group_keys(index[index["subject"].astype(str).isin(task.tested)], "subject")
            pairs = replace(segments(index), tested=frozenset(names))
        elif task.kind == "identification":
            pairs = matching(index.assign(session=index["run"]) if task.split == "run" else index)
        people = group_keys(index, "subject")
        return Question(task, corpus, rows, index, np.zeros(0), [], people, recordings, [], pairs or rates)
    if task.metric and task.metric not in METRICS[task.kind]:
        fix = did_you_mean(task.metric, METRICS[task.kind])
        raise ConfigError(f"no metric {task.metric!r} of {task.kind}", field=f"{task.name}.metric", fix=fix)
    y, classes = targets(index, task)
    groups, folds = splits(index, task, y, seeds)
    if not (task.published and task.published_split is not None and task.published_split.by not in ("subject", "part")):
        check_people(index, folds, task.split)
    check_duplicates(index, folds)
    return Question(task, corpus, rows, index, y, classes, groups, recordings, folds, partner=partner)


def _partner(task: SuiteTask, corpus: Windows, rows: np.ndarray) -> np.ndarray:
    """Windows of the second modality of the people of a task."""
    dataset, _, name = task.fuse.rpartition("/")
    recipe = find_recipe(dataset)
    if name not in recipe.tasks:
        fix = did_you_mean(name, recipe.tasks)
        raise ConfigError(f"recipe {recipe.name} has no task {name!r}", field=f"{task.name}.fuse", fix=fix)
    index = corpus.index
    people = set(index.iloc[rows]["subject"].astype(str))
    chosen = (index["dataset"] == recipe.name) & (index["view"] == recipe.view_of(name))
    found = np.flatnonzero(chosen & index["subject"].astype(str).isin(people))
    if not len(found):
        raise LabelError(f"no person of {task.dataset} is in {recipe.name}", field=f"{task.name}.fuse")
    return found


def _repeats(parts: list[tuple[np.ndarray, np.ndarray]], n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Test sides put together until they hold all `n` rows: one repeat of a cross-validation after the other."""
    whole: list[tuple[np.ndarray, np.ndarray]] = []
    held: list[tuple[np.ndarray, np.ndarray]] = []
    for part in parts:
        held.append(part)
        if sum(len(rows) for rows, _ in held) == n:
            whole.append((np.concatenate([rows for rows, _ in held]), np.concatenate([s for _, s in held])))
            held = []
    return whole or parts
