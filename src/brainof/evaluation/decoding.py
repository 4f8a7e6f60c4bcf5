"""One set of features through the folds of a decoding task: scores, permutation null, scores per group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..stats.compare import pseudo_values
from ..stats.metrics import LOWER_IS_BETTER, METRICS, average_within, per_group
from ..stats.nulls import constant_within, p_value
from ..stats.ridge import decisions, recentre
from ..stats.splits import Fold

#: (n, F) features, or a function (train, test) -> (features of train, features of test)
Features = np.ndarray | Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

#: (y, scores, groups) of the test side of each fold
Tested = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """A decoding task, resolved to arrays: the same for every set of features.

    Attributes
    ----------
    labellings_NP : ndarray
        Labels in column 0, permuted ones in the others.
    n_classes : int
        0 for regression.
    folds : list of (train, test)
        Of one repeat after the other.
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


def score_features(problem: Problem, features: Features, recentred: bool = False) -> Outcome:
    """Fit and test the ridge probe in every fold, on features that are recentred per group first where asked."""
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
        groups = problem.groups[train]
        if isinstance(features, np.ndarray):
            inside, outside = features[train], features[test]
        else:
            inside, outside = features(train, test)
            if recentred:
                inside, outside = recentre(inside, groups), recentre(outside, problem.groups[test])
        scores = decisions(inside, labellings_NP[train], groups, outside, problem.n_classes)
        mains.append([main(labellings_NP[test, column], scores[:, column]) for column in range(scores.shape[1])])
        tested.append(scores[:, 0])
    return tested, np.nanmean(mains, axis=0)


def chance(problem: Problem) -> Outcome:
    """Prediction without features, see `chance_scores`."""
    return _summarised(
        problem, [chance_scores(problem.y[train], problem.n_classes, len(test)) for train, test in problem.folds]
    )


def chance_scores(y_train: np.ndarray, n_classes: int, n_test: int) -> np.ndarray:
    """Scores without features: those of the largest class, or of the mean target, of the training side."""
    if not n_classes:
        one = y_train.mean()
    else:
        fraction = np.bincount(y_train, minlength=n_classes) / len(y_train)
        one = fraction if n_classes > 2 else fraction[1] - 0.5
    return np.broadcast_to(one, (n_test, *np.shape(one)))


def significance(problem: Problem, outcome: Outcome) -> dict[str, float | None]:
    """Mean and 95th percentile of the permutation null, and the p value of the main metric.

    Where the test has folds of its own, the null is moved by what these folds change in the observed score, so that it
    can be held against the score.
    """
    observed, null = outcome.main_P[0], outcome.main_P[1:]
    moved = null + outcome.mean("window", problem.main_metric) - observed
    return null_summary(observed, null, problem.main_metric not in LOWER_IS_BETTER, moved)


def null_summary(
    observed: float, null: np.ndarray, larger: bool = True, shown: np.ndarray | None = None
) -> dict[str, float | None]:
    """Mean and 95 % of a null (of `shown` in its place), and the p value; all None without one."""
    if not len(null):
        return {"null_mean": None, "null_95": None, "p_value": None}
    shown = null if shown is None else shown
    return {
        "null_mean": float(shown.mean()),
        "null_95": float(np.quantile(shown, 0.95 if larger else 0.05)),
        "p_value": p_value(observed, null, larger),
    }


def _summarised(problem: Problem, scores: list[np.ndarray]) -> Outcome:
    """Scores of windows and, where recordings hold one label and several windows, of whole files."""
    levels: dict[str, Tested] = {"window": [], "file": []}
    for (_, test), values in zip(problem.folds, scores, strict=True):
        y, groups = problem.y[test], problem.groups[test]
        levels["window"].append((y, values, groups))
        averaged = average_within(y, values, problem.recordings[test])
        if averaged is not None and len(averaged[0]) < len(y):
            levels["file"].append((averaged[0], averaged[1], groups[averaged[2]]))
    outcome = Outcome()
    for level, parts in levels.items():
        if len(parts) == len(problem.folds):
            outcome.folds[level], outcome.groups[level] = cross_validated(problem.kind, parts, problem.repeats)
    return outcome


def cross_validated(
    kind: str, tested: Tested, repeats: int = 1
) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Scores of the test sides of a cross-validation: metric -> one value per fold; metric -> group -> value.

    The value of a group is the mean over repeats of the metric inside it, or of its pseudo-value where labels belong to
    groups (with the test sides of a repeat put together, so that folds of one class are no obstacle).
    """
    y, scores, groups = (np.concatenate(column) for column in zip(*tested, strict=True))
    folds = {name: [metric(y, scores) for y, scores, _ in tested] for name, metric in METRICS[kind].items()}
    if constant_within(y, groups):
        size = len(y) // repeats
        parts = [(y[i : i + size], scores[i : i + size], groups[i : i + size]) for i in range(0, len(y), size)]
        inside = pseudo_values
    else:
        parts, inside = tested, per_group
    return folds, {
        name: mean_by_name([inside(metric, *part) for part in parts]) for name, metric in METRICS[kind].items()
    }


def mean_by_name(parts: list[dict[str, float]]) -> dict[str, float]:
    """Name -> mean of its finite values over parts, in the order of the names."""
    names = sorted({name for part in parts for name in part})
    return {name: nanmean(part[name] for part in parts if name in part) for name in names}


def flags(name: str, recentred: bool, seen: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """What a score used of the test subjects: windows of the test, or windows that trained the model."""
    n_seen = len(seen.get(name, ()))
    return {"recentred": recentred, "transductive": recentred or n_seen > 0, "n_seen": n_seen}


def nanmean(values) -> float:
    """Mean of the finite values; NaN where there is none."""
    values = np.asarray(list(values), dtype=float)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
