"""One set of features through the folds of a decoding task: scores, permutation null, scores per group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..stats.compare import pseudo_values
from ..stats.metrics import LOWER_IS_BETTER, METRICS, average_within, per_group
from ..stats.nulls import constant_within, p_value
from ..stats.ridge import RidgeSolver, classify, recentre
from ..stats.splits import Fold

#: (n, F) features, or a function (train, test) -> (features of train, features of test)
Features = np.ndarray | Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """A decoding task, resolved to arrays: the same for every set of features.

    Attributes
    ----------
    kind : {"classification", "regression"}
    labellings_NP : ndarray
        Labels in column 0, permuted ones in the others.
    n_classes : int
        0 for regression.
    groups, recordings : ndarray, shape (n,)
    folds : list of (train, test)
        Of one repeat after the other.
    repeats : int
    null_folds : list of (train, test), optional
        Folds of the permutation test where `folds` were stratified by the labels. In those the true labels are evenly
        spread and permuted ones are not, which made p values too large; the test needs folds that know no labels.
    """

    kind: str
    labellings_NP: np.ndarray
    n_classes: int
    groups: np.ndarray
    recordings: np.ndarray
    folds: list[Fold]
    repeats: int = 1
    null_folds: list[Fold] | None = None

    @property
    def y(self) -> np.ndarray:
        return self.labellings_NP[:, 0]

    @property
    def main_metric(self) -> str:
        return next(iter(METRICS[self.kind]))


@dataclass
class Outcome:
    """Scores of one set of features, for windows and whole files, and of its permutation null.

    Attributes
    ----------
    folds : dict of level -> metric -> one value per fold
    groups : dict of level -> metric -> group -> value
        Inside the group; where labels belong to groups, the pseudo-value of the group (see `pseudo_values`).
    main_P : ndarray
        Main metric of windows in the folds of the permutation test: with the true labels, then with permuted ones.
    """

    folds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    main_P: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def mean(self, level: str, metric: str) -> float:
        return nanmean(self.folds[level][metric])


#: (y, scores, groups) of the test side of each fold
_Tested = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def score_features(problem: Problem, features: Features, recentred: bool = False) -> Outcome:
    """Fit and test the ridge probe in every fold.

    Parameters
    ----------
    problem : Problem
    features : array (n, F) or callable (train, test) -> arrays
    recentred : bool
        Recentre features per group first (`brainof.stats.recentre`).
    """
    labellings_NP, null_folds = problem.labellings_NP, problem.null_folds
    tested, main_P = probe_folds(problem, features, recentred, labellings_NP[:, :1] if null_folds else labellings_NP)
    outcome = _summarised(problem, tested)
    if null_folds and labellings_NP.shape[1] > 1:
        main_P = probe_folds(replace(problem, folds=null_folds), features, recentred, labellings_NP)[1]
    outcome.main_P = main_P
    return outcome


def probe_folds(
    problem: Problem, features: Features, recentred: bool, labellings_NP: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Decision values of the test side of each fold for the first labelling; mean main metric of each labelling."""
    main = METRICS[problem.kind][problem.main_metric]
    if isinstance(features, np.ndarray) and recentred:
        features = recentre(features, problem.groups)
    tested: list[np.ndarray] = []
    mains = []
    for train, test in problem.folds:
        inside, outside = _sides(problem, features, train, test, recentred)
        solver = RidgeSolver(inside, problem.groups[train])
        if problem.kind == "classification":
            scores = classify(solver, labellings_NP[train], problem.n_classes, outside)
        else:
            scores = solver.predict(solver.solve(labellings_NP[train][:, :, None]), outside)
        scores = scores[:, :, 0] if scores.shape[2] == 1 else scores
        mains.append([main(labellings_NP[test, column], scores[:, column]) for column in range(scores.shape[1])])
        tested.append(scores[:, 0])
    return tested, np.nanmean(mains, axis=0)


def chance(problem: Problem) -> Outcome:
    """Prediction without features: the largest class, or the mean target, of the training side."""
    tested = []
    for train, test in problem.folds:
        if problem.kind == "classification":
            fraction = np.bincount(problem.y[train], minlength=problem.n_classes) / len(train)
            one = fraction if problem.n_classes > 2 else fraction[1] - 0.5
        else:
            one = problem.y[train].mean()
        tested.append(np.broadcast_to(one, (len(test), *np.shape(one))))
    return _summarised(problem, tested)


def significance(problem: Problem, outcome: Outcome) -> dict[str, float | None]:
    """Mean and 95th percentile of the permutation null, and the p value of the main metric.

    Where the test has folds of its own, the null is moved by what these folds change in the observed score, so that it
    can be held against the score.
    """
    observed, null = outcome.main_P[0], outcome.main_P[1:]
    if not len(null):
        return {"null_mean": None, "null_95": None, "p_value": None}
    larger = problem.main_metric not in LOWER_IS_BETTER
    moved = null + outcome.mean("window", problem.main_metric) - observed
    return {
        "null_mean": float(moved.mean()),
        "null_95": float(np.quantile(moved, 0.95 if larger else 0.05)),
        "p_value": p_value(observed, null, larger),
    }


def _sides(problem: Problem, features: Features, train: np.ndarray, test: np.ndarray, recentred: bool):
    if isinstance(features, np.ndarray):
        return features[train], features[test]
    inside, outside = features(train, test)
    if recentred:
        return recentre(inside, problem.groups[train]), recentre(outside, problem.groups[test])
    return inside, outside


def _summarised(problem: Problem, scores: list[np.ndarray]) -> Outcome:
    """Scores of windows and, where recordings hold one label and several windows, of whole files."""
    windows: _Tested = []
    files: _Tested = []
    for (_, test), values in zip(problem.folds, scores, strict=True):
        y, groups = problem.y[test], problem.groups[test]
        windows.append((y, values, groups))
        averaged = average_within(y, values, problem.recordings[test])
        if averaged is not None and len(averaged[0]) < len(y):
            files.append((averaged[0], averaged[1], groups[averaged[2]]))
    outcome = Outcome()
    for level, parts in (("window", windows), ("file", files)):
        if len(parts) == len(problem.folds):
            outcome.folds[level], outcome.groups[level] = cross_validated(problem.kind, parts, problem.repeats)
    return outcome


def cross_validated(
    kind: str, tested: _Tested, repeats: int = 1
) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Scores of the test sides of a cross-validation.

    Parameters
    ----------
    kind : {"classification", "regression"}
    tested : list of (y, scores, groups)
        The test side of each fold, of one repeat after the other.
    repeats : int

    Returns
    -------
    folds : dict of metric -> one value per fold
    groups : dict of metric -> group -> value
        Mean over repeats of the metric inside the group, or of the group's pseudo-value where labels belong to groups
        (with the test sides of a repeat put together, so that folds of one class are no obstacle).
    """
    y, scores, groups = (np.concatenate(column) for column in zip(*tested, strict=True))
    folds = {name: [metric(y, scores) for y, scores, _ in tested] for name, metric in METRICS[kind].items()}
    if constant_within(y, groups):
        size = len(y) // repeats
        parts = [(y[i : i + size], scores[i : i + size], groups[i : i + size]) for i in range(0, len(y), size)]
        inside = pseudo_values
    else:
        parts, inside = tested, per_group
    by_group: dict[str, dict[str, float]] = {}
    for name, metric in METRICS[kind].items():
        values: dict[str, list[float]] = {}
        for part in parts:
            for group, value in inside(metric, *part).items():
                values.setdefault(group, []).append(value)
        by_group[name] = {group: nanmean(each) for group, each in sorted(values.items())}
    return folds, by_group


def flags(name: str, recentred: bool, seen: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """What a score used of the test subjects: windows of the test, or windows that trained the model."""
    n_seen = len(seen.get(name, ()))
    return {"recentred": recentred, "transductive": recentred or n_seen > 0, "n_seen": n_seen}


def nanmean(values) -> float:
    """Mean of the finite values; NaN where there is none."""
    values = np.asarray(list(values), dtype=float)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
