"""Scores: what a decision, a ranking, a prediction or a match is worth.

`CLASSIFICATION` and `REGRESSION` map a metric's name to a function; adding a metric is one function and one entry.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, r2_score


def decide(scores: np.ndarray) -> np.ndarray:
    """Class codes from decision values: the sign of (n,), the largest column of (n, n_classes)."""
    return (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall over the classes present in `y` (codes). Chance is one over their number."""
    n = np.bincount(y)
    hits = np.bincount(y[predicted == y], minlength=len(n))
    return float(np.mean(hits[n > 0] / n[n > 0]))


def roc_auc(y: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; for more than two classes the mean of one-versus-rest over the classes in `y`.

    Columns of scores (n, n_classes) are numbered by the codes in `y`. NaN where `y` holds a single class.
    """
    present = np.unique(y)
    if len(present) < 2:
        return float("nan")

    def auc(positive: np.ndarray, scores: np.ndarray) -> float:
        # by ranks (Mann-Whitney): asked for tens of thousands of times, and 8 to 30 times faster than scikit-learn's
        n_positive, n_negative = positive.sum(), (~positive).sum()
        above = rankdata(scores)[positive].sum() - n_positive * (n_positive + 1) / 2
        return float(above / (n_positive * n_negative))

    if scores.ndim == 1:
        return auc(y == present.max(), scores)
    return float(np.mean([auc(y == code, scores[:, code]) for code in present]))


def kappa(y: np.ndarray, predicted: np.ndarray) -> float:
    """Cohen's kappa; NaN where both hold one and the same class only."""
    if len(np.union1d(y, predicted)) < 2:
        return float("nan")
    return float(cohen_kappa_score(y, predicted))


def pearson(y: np.ndarray, predicted: np.ndarray) -> float:
    """Correlation of prediction and target; NaN where one of them is constant."""
    if np.ptp(y) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(np.corrcoef(y, predicted)[0, 1])


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """Explained fraction of the variance; NaN for fewer than two targets."""
    return float(r2_score(y, predicted)) if len(y) > 1 else float("nan")


CLASSIFICATION: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "balanced_accuracy": lambda y, scores: balanced_accuracy(y, decide(scores)),
    "roc_auc": roc_auc,
    "kappa": lambda y, scores: kappa(y, decide(scores)),
}
REGRESSION: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mae": lambda y, predicted: float(mean_absolute_error(y, predicted)),
    "r2": r2,
    "pearson": pearson,
}
#: kind of task -> its metrics, the first being the one that is tested
METRICS = {"classification": CLASSIFICATION, "regression": REGRESSION}
LOWER_IS_BETTER = frozenset({"mae"})


def per_group(
    metric: Callable[[np.ndarray, np.ndarray], float], y: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> dict[str, float]:
    """The metric inside each group; groups where it is undefined (one class, for the AUC) are NaN."""
    return {str(name): metric(y[groups == name], scores[groups == name]) for name in np.unique(groups)}


def average_within(
    y: np.ndarray, scores: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """One label and one mean score per unit (recording), or None where a unit holds several labels.

    Returns y, scores and the position of each unit's first row.
    """
    _, first, code = np.unique(units, return_index=True, return_inverse=True)
    if (y != y[first][code]).any():
        return None
    counts = np.bincount(code).astype(float)
    total = np.zeros((len(first), *scores.shape[1:]))
    np.add.at(total, code, scores)
    return y[first], total / counts.reshape(-1, *[1] * (scores.ndim - 1)), first


def standardise(features: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance per column; constant columns become zero."""
    centred = features - features.mean(axis=0)
    scale = features.std(axis=0)
    return centred / np.where(scale > 1e-12 * np.abs(features).max(axis=0, initial=0), scale, np.inf)


def similarity(first: np.ndarray, second: np.ndarray, standardised: bool = True) -> np.ndarray:
    """Pearson correlation of every row of `first` with every row of `second`, (n_subjects, n_features) each.

    `standardised` features are so over all sessions first. It uses no identity, but it does use the whole test set.
    """
    both = np.concatenate([first, second]).astype(np.float64)
    if standardised:
        both = standardise(both)
    both = both - both.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(both, axis=1, keepdims=True)
    both = both / np.where(norms > 0, norms, np.inf)
    return both[: len(first)] @ both[len(first) :].T


def identification(similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top-1 matches both ways: the column chosen for each row of similarities, and the row for each column.

    Subject i is identified where entry i equals i; a row of ties is a miss (-1), so that constant features score zero.
    """

    def chosen(rows: np.ndarray) -> np.ndarray:
        best = rows.max(axis=1, keepdims=True)
        return np.where((rows >= best).sum(axis=1) == 1, rows.argmax(axis=1), -1)

    return chosen(similarities), chosen(similarities.T)
