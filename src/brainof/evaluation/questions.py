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
from ..errors import ConfigError, LabelError, check_known
from ..stats.compare import mean_by_name, pseudo_values
from ..stats.metrics import METRICS, average_within, per_group
from ..stats.nulls import constant_within, labellings
from ..stats.ridge import decisions
from ..stats.splits import group_keys, label_of_groups
from .baselines import default_baselines
from .folds import Split, of_subjects, only_tested, splits, task_folds
from .leaks import check_duplicates, check_people
from .matching import Matching, Segments, matching, segments
from .protocol import Task, nuisance_of, targets, task_rows
from .resolution import Fewer, Resolutions, resolutions
from .suite import SuiteTask
from .transforms import PLAIN, Features, both_sides

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
    def modality(self) -> str:
        return str(self.index["modality"].iloc[0])

    @property
    def baselines(self) -> list[str]:
        """Names of the classical baselines."""
        if self.task.baselines is not None:
            return self.task.baselines
        return default_baselines(self.modality, self.task.kind, int(self.index["n_times"].max()))

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

    def by(self, metric: str) -> Question:
        """The same question by another metric."""
        return replace(self, task=self.task.model_copy(update={"metric": metric}))

    def chance(self) -> list[np.ndarray]:
        """Scores of each test side without features: the largest class, or the mean target, of the training side."""
        found, n_classes = [], len(self.classes)
        for train, _, test in self.folds:
            y = self.y[train]
            fraction = np.bincount(y, minlength=n_classes) / len(y) if n_classes else y.mean()
            one = fraction[1] - 0.5 if n_classes == 2 else fraction
            found.append(np.broadcast_to(one, (len(test), *np.shape(one))))
        return found

    def null(
        self, features: Features, n: int, option: str = PLAIN, width: int = 0, *, nuisance: bool = False
    ) -> np.ndarray:
        """The tested metric of a ridge, mean over test sides, for the true labels and for `n` permutations of them."""
        labels_NP, metrics = self.labellings(n, nuisance=nuisance), []
        for train, _, test in self.null_folds():
            inside, outside = both_sides(features, train, test, self.groups, option, width)
            scores = decisions(inside, labels_NP[train], self.groups[train], outside, len(self.classes))
            true = labels_NP[test]
            metrics.append([self.measure(true[:, c], scores[:, c], test) for c in range(true.shape[1])])
        return np.nanmean(metrics, axis=0)

    def _levelled(self, y: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.task.level == "window":
            return y, scores, rows
        averaged = average_within(y, scores, self.recordings[rows])
        if averaged is None:
            text = "its label changes inside recordings"
            raise ConfigError(text, field=f"{self.task.name}.level", fix="choose level: window")
        return averaged[0], averaged[1], rows[averaged[2]]

    def at(self, sfreq: float | None, dropped: float = 0.0) -> Question:
        """The same windows at another resolution."""
        assert isinstance(self.pairs, dict)
        corpus: Any = Fewer(self.corpus, dropped) if dropped else self.corpus
        rows = self.pairs[sfreq]
        return replace(self, corpus=corpus, rows=rows, index=corpus.index.iloc[rows].reset_index(drop=True))

    def labellings(self, n: int, *, nuisance: bool = False) -> np.ndarray:
        """The labels in column 0, `n` permutations of them (that keep the nuisance) in the others."""
        rng = np.random.default_rng(self.task.random_state)
        onsets = self.index["onset"].to_numpy(dtype=float)
        strata = nuisance_of(self.index, self.task) if nuisance else None
        return labellings(n, self.y, self.groups, self.recordings, rng, onsets=onsets, strata=strata)

    def null_folds(self) -> list[Split]:
        """Folds of the permutation test: those of the task, or ones that know no labels where its are stratified.

        In stratified folds the true labels are evenly spread and permuted ones are not, which made p values too large.
        """
        task = self.task
        stratified = (
            task.kind == "classification"
            and not (task.published or task.split_file or task.fractions or task.sided)
            and label_of_groups(np.unique(self.groups), self.groups, self.y) is not None
        )
        if not stratified:
            return self.folds
        folds = task_folds(self.index, task.model_copy(update={"repeats": 1}), None)[1]
        return only_tested(folds, self.index, task)

    @property
    def tested(self) -> pd.DataFrame:
        """The rows of the people who are scored."""
        names = self.task.tested
        return self.index[self.index["subject"].astype(str).isin(names)] if names else self.index


def plain_question(task: Task, corpus: Windows, **more: Any) -> Question:
    """A task as it stands: cross-validation by its group, or all pairs; without the checks of a suite.

    `more` are fields of SuiteTask, such as the metric.
    """
    return ask(SuiteTask.parse({"recipe": task.name, **task.to_dict(), **more}), corpus, plain=True)


def ask(task: SuiteTask, corpus: Windows, seeds: int = 1, *, plain: bool = False) -> Question:
    """Resolve a task on a corpus; a LabelError or ConfigError where something does not fit or leaks."""
    rates: Resolutions | None = None
    if task.kind == "resolution":
        if not task.changes:
            fix = "write changes: [{sfreq: 128}, {dropped: 0.333}]"
            raise ConfigError("none", field=f"{task.name}.changes", fix=fix)
        rates = resolutions(corpus.index, task.name, str(task.dataset), task.rates)
    rows = rates[None] if rates is not None else task_rows(corpus.index, task)
    if task.leave_out:
        kept = ~of_subjects(corpus.index.iloc[rows], task.leave_out, f"{task.name}.leave_out")
        rows = rows[kept]
        if rates is not None:  # the same windows at every rate
            rates = {sfreq: own[kept] for sfreq, own in rates.items()}
    partner = _partner(task, corpus, rows) if task.fuse else None
    if partner is not None:
        both = set(corpus.index.iloc[partner]["subject"].astype(str))
        rows = rows[corpus.index.iloc[rows]["subject"].astype(str).isin(both)]
    index = corpus.index.iloc[rows].reset_index(drop=True)
    recordings = group_keys(index, "recording")
    if task.kind not in DECODING:
        pairs: Matching | Segments | Resolutions | None = rates
        if task.kind == "matching":
            names = group_keys(index[index["subject"].astype(str).isin(task.tested)], "subject")
            pairs = replace(segments(index), tested=frozenset(names))
        elif task.kind == "identification":
            of_runs = task.split == "run" and not plain
            pairs = matching(index.assign(session=index["run"]) if of_runs else index)
        people = group_keys(index, "subject")
        return Question(task, corpus, rows, index, np.zeros(0), [], people, recordings, [], pairs)
    if task.metric:
        problem = f"no metric {{!r}} of {task.kind}"
        check_known(task.metric, METRICS[task.kind], ConfigError, problem, field=f"{task.name}.metric")
    y, classes = targets(index, task)
    groups, folds = task_folds(index, task, y) if plain else splits(index, task, y, seeds)
    if not plain:
        if task.as_published is None or task.as_published.by in ("subject", "part"):
            check_people(index, folds, task.split)
        check_duplicates(index, folds)
    return Question(task, corpus, rows, index, y, classes, groups, recordings, folds, partner=partner)


def _partner(task: SuiteTask, corpus: Windows, rows: np.ndarray) -> np.ndarray:
    """Windows of the second modality of the people of a task."""
    dataset, _, name = task.fuse.rpartition("/")
    recipe = find_recipe(dataset)
    problem = f"recipe {recipe.name} has no task {{!r}}"
    check_known(name, recipe.tasks, ConfigError, problem, field=f"{task.name}.fuse")
    index = corpus.index
    people = set(index.iloc[rows]["subject"].astype(str))
    chosen = (index["dataset"] == recipe.name) & (index["view"] == recipe.view_of(name))
    found = np.flatnonzero(chosen & index["subject"].astype(str).isin(people))
    if not len(found):
        raise LabelError(f"no person of {task.dataset} is in {recipe.name}", field=f"{task.name}.fuse")
    return found


def _repeats(parts: list[tuple[np.ndarray, np.ndarray]], n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Test sides put together until they hold all `n` rows: one repeat of a cross-validation after the other."""
    whole, held = [], []
    for part in parts:
        held.append(part)
        if sum(len(rows) for rows, _ in held) == n:
            rows, scores = map(np.concatenate, zip(*held, strict=True))
            whole.append((rows, scores))
            held = []
    return whole or parts
