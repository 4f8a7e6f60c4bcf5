"""One set of features through the folds of a decoding task: scores, permutation null, per-group scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..stats.metrics import LOWER_IS_BETTER, METRICS, average_within, per_group
from ..stats.nulls import p_value
from ..stats.ridge import RidgeSolver, classify, recentre
from ..stats.splits import Fold

#: (n, F) features, or a function (train, test) -> (features of train, features of test)
Features = np.ndarray | Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """A decoding task, resolved to arrays: the same for every set of features.

    `labellings` has the labels in column 0 and permuted ones in the others. `n_classes` is 0 for regression.
    """

    kind: str
    labellings: np.ndarray
    n_classes: int
    groups: np.ndarray
    recordings: np.ndarray
    folds: list[Fold]

    @property
    def y(self) -> np.ndarray:
        return self.labellings[:, 0]

    @property
    def main_metric(self) -> str:
        return next(iter(METRICS[self.kind]))


@dataclass
class Outcome:
    """Scores of one set of features: metric -> one value per fold, and per group, for windows and whole files."""

    folds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    null: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def mean(self, level: str, metric: str) -> float:
        return nanmean(self.folds[level][metric])


def score_features(problem: Problem, features: Features, transductive: bool = False) -> Outcome:
    """Fit and test the ridge probe in every fold.

    Parameters
    ----------
    problem : Problem
    features : array (n, F) or callable (train, test) -> arrays
    transductive : bool
        Recentre features per group first (`probe.recentre`).
    """
    metrics = METRICS[problem.kind]
    outcome = Outcome()
    main = metrics[problem.main_metric]
    null = []
    collected: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {"window": [], "file": []}
    if isinstance(features, np.ndarray) and transductive:
        features = recentre(features, problem.groups)
    for train, test in problem.folds:
        inside, outside = _sides(problem, features, train, test, transductive)
        solver = RidgeSolver(inside, problem.groups[train])
        if problem.kind == "classification":
            scores = classify(solver, problem.labellings[train], problem.n_classes, outside)
        else:
            scores = solver.predict(solver.solve(problem.labellings[train][:, :, None]), outside)
        squeeze = scores.shape[2] == 1
        observed = scores[:, 0, 0] if squeeze else scores[:, 0]
        null.append(
            [
                main(problem.labellings[test, column], scores[:, column, 0] if squeeze else scores[:, column])
                for column in range(1, scores.shape[1])
            ]
        )
        _collect(problem, test, observed, collected)
    _summarise(problem, collected, outcome)
    outcome.null = np.nanmean(np.array(null), axis=0) if problem.labellings.shape[1] > 1 else np.zeros(0)
    return outcome


def chance(problem: Problem) -> Outcome:
    """Prediction without features: the largest class, or the mean target, of the training side."""
    outcome = Outcome()
    collected: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {"window": [], "file": []}
    for train, test in problem.folds:
        if problem.kind == "classification":
            share = np.bincount(problem.y[train], minlength=problem.n_classes) / len(train)
            one = share if problem.n_classes > 2 else share[1] - 0.5
        else:
            one = problem.y[train].mean()
        _collect(problem, test, np.broadcast_to(one, (len(test), *np.shape(one))), collected)
    _summarise(problem, collected, outcome)
    return outcome


def significance(problem: Problem, outcome: Outcome) -> dict[str, float | None]:
    """Mean and 95th percentile of the permutation null, and the p value of the main metric."""
    if not len(outcome.null):
        return {"null_mean": None, "null_95": None, "p_value": None}
    larger = problem.main_metric not in LOWER_IS_BETTER
    return {
        "null_mean": float(outcome.null.mean()),
        "null_95": float(np.quantile(outcome.null, 0.95 if larger else 0.05)),
        "p_value": p_value(outcome.mean("window", problem.main_metric), outcome.null, larger),
    }


def _sides(problem: Problem, features: Features, train: np.ndarray, test: np.ndarray, transductive: bool):
    if isinstance(features, np.ndarray):
        return features[train], features[test]
    inside, outside = features(train, test)
    if transductive:
        return recentre(inside, problem.groups[train]), recentre(outside, problem.groups[test])
    return inside, outside


def _collect(problem: Problem, test: np.ndarray, scores: np.ndarray, collected: dict) -> None:
    y, groups = problem.y[test], problem.groups[test]
    collected["window"].append((y, scores, groups))
    averaged = average_within(y, scores, problem.recordings[test])
    if averaged is not None and len(averaged[0]) < len(y):
        collected["file"].append((averaged[0], averaged[1], groups[averaged[2]]))


def _summarise(problem: Problem, collected: dict, outcome: Outcome) -> None:
    for level, parts in collected.items():
        if len(parts) < len(problem.folds):
            continue  # recordings hold several labels, or one window each
        outcome.folds[level], outcome.groups[level] = {}, {}
        for name, metric in METRICS[problem.kind].items():
            outcome.folds[level][name] = [metric(y, scores) for y, scores, _ in parts]
            values: dict[str, list[float]] = {}
            for y, scores, groups in parts:
                for group, value in per_group(metric, y, scores, groups).items():
                    values.setdefault(group, []).append(value)
            outcome.groups[level][name] = {group: nanmean(repeats) for group, repeats in sorted(values.items())}


def nanmean(values) -> float:
    """Mean of the finite values; NaN where there is none."""
    values = np.asarray(list(values), dtype=float)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
