"""Scores of features that are read out fold by fold: chance, nulls and means."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..stats.nulls import p_value

#: (n, F) features, or a function (train, test) -> (features of train, features of test)
Features = np.ndarray | Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

#: Name of the prediction without features
CHANCE = "chance"


def both_sides(features: Features, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of the training and of the test rows."""
    return features(train, test) if callable(features) else (features[train], features[test])


def chance_scores(y_train: np.ndarray, n_classes: int, n_test: int) -> np.ndarray:
    """Scores without features: those of the largest class, or of the mean target, of the training side."""
    if not n_classes:
        one = y_train.mean()
    else:
        fraction = np.bincount(y_train, minlength=n_classes) / len(y_train)
        one = fraction if n_classes > 2 else fraction[1] - 0.5
    return np.broadcast_to(one, (n_test, *np.shape(one)))


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


def mean_by_name(parts: list[dict[str, float]]) -> dict[str, float]:
    """Name -> mean of its finite values over parts, in the order of the names."""
    names = sorted({name for part in parts for name in part})
    return {name: nanmean(part[name] for part in parts if name in part) for name in names}


def nanmean(values: Iterable[float]) -> float:
    """Mean of the finite values; NaN where there is none."""
    values = np.asarray(list(values), dtype=float)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
