"""Ridge regression: own code, since one decomposition of the features serves hundreds of permuted labellings at once.

Standardise on the training side, choose alpha by inner group folds, predict. `RidgeSolver` takes labellings as further
columns, so that a hundred cost little more than one; scikit-learn's RidgeCV chooses one alpha for all of them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .splits import CrossSubject

#: candidate penalties, relative to the mean squared row norm of the standardised features
ALPHAS: tuple[float, ...] = tuple(10.0**power for power in range(-3, 6))
#: folds in which one of them is chosen
INNER_SPLITS = 4


@dataclass(frozen=True)
class _Decomposition:
    """Singular value decomposition of standardised features, Z = U diag(s) V', with V = axes @ mix.

    Where there are more features than rows, axes are Z' itself: V is as large and would cost as much as all the rest.
    """

    mean_F: np.ndarray
    scale_F: np.ndarray
    left_NR: np.ndarray
    singular_R: np.ndarray
    axes_FM: np.ndarray
    mix_MR: np.ndarray | None

    @classmethod
    def of(cls, X_NF: np.ndarray) -> _Decomposition:
        mean, scale = _moments(X_NF)
        Z = _standardised(X_NF, mean, scale)
        # the smaller of the two Gram matrices: several times faster than an SVD
        dual = Z.shape[0] <= Z.shape[1]
        values, vectors = np.linalg.eigh(Z @ Z.T if dual else Z.T @ Z)
        kept = values > values[-1] * 1e-12 if len(values) and values[-1] > 0 else np.zeros(len(values), bool)
        singular, vectors = np.sqrt(values[kept]), vectors[:, kept]
        if dual:
            return cls(mean, scale, vectors, singular, Z.T, vectors / singular)
        return cls(mean, scale, Z @ vectors / singular, singular, vectors, None)

    def project(self, X_NF: np.ndarray) -> np.ndarray:
        """Rows in the coordinates of V."""
        projected = _standardised(X_NF, self.mean_F, self.scale_F) @ self.axes_FM
        return projected if self.mix_MR is None else projected @ self.mix_MR

    def weights(self, left_targets_RK: np.ndarray, alpha: float) -> np.ndarray:
        """Ridge coefficients of U' times centred targets, in the coordinates of V, shape (R, K)."""
        penalty = alpha * len(self.mean_F)
        return (self.singular_R / (self.singular_R**2 + penalty))[:, None] * left_targets_RK

    def coefficients(self, weights_RK: np.ndarray) -> np.ndarray:
        """Of the standardised features, shape (F, K)."""
        return self.axes_FM @ (weights_RK if self.mix_MR is None else self.mix_MR @ weights_RK)


def _moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of what is known of each feature; a constant one says nothing: inf makes it zero."""
    if np.isfinite(X).all():
        mean, scale = X.mean(axis=0), X.std(axis=0)
    else:
        mean, scale = np.zeros(X.shape[1]), np.full(X.shape[1], np.inf)
        with np.errstate(invalid="ignore"):
            known = np.isfinite(X).any(axis=0)
        mean[known] = np.nanmean(X[:, known], axis=0)
        scale[known] = np.nanstd(X[:, known], axis=0)
    scale[(scale <= 1e-12 * np.abs(mean)) | (scale == 0)] = np.inf
    return mean, scale


def _standardised(X: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    Z = X - mean
    Z /= scale
    Z[~np.isfinite(Z)] = 0.0  # a missing feature (bad channel) takes the training mean
    return Z


@dataclass(frozen=True)
class Solution:
    """Fitted weights for P labellings of K columns; `held_out_NPK` are scores of training rows from inner folds."""

    alpha_P: np.ndarray
    weights_RPK: np.ndarray
    intercept_PK: np.ndarray
    held_out_NPK: np.ndarray


class RidgeSolver:
    """Ridge regression of many labellings on one training side.

    Parameters
    ----------
    X : ndarray, shape (n, n_features)
        Training features; NaN marks a missing value.
    groups : ndarray, shape (n,) or None
        Groups of the training rows; inner folds keep them whole. With a single group alpha is the middle candidate.
    alphas : sequence of float
        Candidates, relative to n_features (the mean squared row norm after standardisation).
    random_state : int
        Seed of the inner folds.
    """

    def __init__(self, X, groups=None, alphas=ALPHAS, random_state: int = 0) -> None:
        self.alphas = np.asarray(alphas, dtype=np.float64)
        X = np.asarray(X, dtype=np.float64)
        groups = np.arange(len(X)) if groups is None else np.asarray(groups)
        self.full = _Decomposition.of(X)
        self.inner: list[tuple[np.ndarray, np.ndarray, _Decomposition, np.ndarray]] = []
        if (n_groups := len(np.unique(groups))) > 1:
            splitter = CrossSubject(min(INNER_SPLITS, n_groups), random_state=random_state)
            for train, test in splitter.split(groups=groups):
                part = _Decomposition.of(X[train])
                self.inner.append((train, test, part, part.project(X[test])))

    def solve(self, targets_NPK: np.ndarray) -> Solution:
        """Fit every labelling, each with the alpha of least squared error in its own inner folds."""
        n, n_labellings, n_columns = targets_NPK.shape
        flat = targets_NPK.reshape(n, -1)
        best = np.full(n_labellings, len(self.alphas) // 2)
        held_out = np.zeros((n, n_labellings, n_columns))
        if self.inner:
            least = np.full(n_labellings, np.inf)
            means = [flat[train].mean(axis=0) for train, *_ in self.inner]
            folds = list(zip(self.inner, means, strict=True))
            inside = [part.left_NR.T @ (flat[train] - mean) for (train, _, part, _), mean in folds]
            for number, alpha in enumerate(self.alphas):
                scores = np.empty_like(flat)
                for ((_, test, part, projected), mean), targets in zip(folds, inside, strict=True):
                    scores[test] = projected @ part.weights(targets, alpha) + mean
                error = ((scores - flat) ** 2).reshape(n, n_labellings, n_columns).sum(axis=(0, 2))
                better = error < least
                least[better], best[better] = error[better], number
                held_out[:, better] = scores.reshape(n, n_labellings, n_columns)[:, better]
        intercept = flat.mean(axis=0)
        targets, rank = self.full.left_NR.T @ (flat - intercept), len(self.full.singular_R)
        weights = np.empty((rank, n_labellings, n_columns))
        for number in np.unique(best):
            chosen = best == number
            columns = np.repeat(chosen, n_columns)
            fitted = self.full.weights(targets[:, columns], self.alphas[number])
            weights[:, chosen] = fitted.reshape(rank, int(chosen.sum()), n_columns)
        intercept = intercept.reshape(n_labellings, n_columns)
        if not self.inner:
            held_out = np.tensordot(self.full.left_NR * self.full.singular_R, weights, 1) + intercept
        return Solution(self.alphas[best], weights, intercept, held_out)

    def predict(self, solution: Solution, X: np.ndarray) -> np.ndarray:
        """Scores of new rows, shape (n, P, K)."""
        projected = self.full.project(np.asarray(X, dtype=np.float64))
        return np.tensordot(projected, solution.weights_RPK, 1) + solution.intercept_PK


def one_versus_rest(codes_NP: np.ndarray, n_classes: int) -> np.ndarray:
    """Targets of -1 and +1, shape (n, P, K): one column per class, a single column for two classes."""
    if n_classes == 2:
        return np.where(codes_NP == 1, 1.0, -1.0)[..., None]
    return np.where(codes_NP[..., None] == np.arange(n_classes), 1.0, -1.0)


def equal_prior_offset(codes_NP: np.ndarray, held_out_NPK: np.ndarray) -> np.ndarray:
    """Where the decision lies if classes are equally likely: the mean over classes of their mean held-out score.

    Shrunken regression on -1 and +1 sends everything to the larger class; measured on held-out scores of the training
    side, this puts the threshold back without looking at the test side. Shape (P, K).
    """
    means = []
    for code in np.unique(codes_NP):
        inside = (codes_NP == code)[..., None]
        count = inside.sum(axis=0)
        means.append(np.where(count > 0, (held_out_NPK * inside).sum(axis=0) / np.maximum(count, 1), np.nan))
    return np.nanmean(means, axis=0)


def classify(solver: RidgeSolver, codes_NP: np.ndarray, n_classes: int, X_test: np.ndarray) -> np.ndarray:
    """Decision values of the test rows for P labellings of the training side, shape (n_test, P, K)."""
    solution = solver.solve(one_versus_rest(codes_NP, n_classes))
    return solver.predict(solution, X_test) - equal_prior_offset(codes_NP, solution.held_out_NPK)


def decisions(
    X: np.ndarray, labels_NP: np.ndarray, groups: np.ndarray, X_test: np.ndarray, n_classes: int
) -> np.ndarray:
    """Scores of test rows for P labellings of the training side: (n_test, P), or (n_test, P, K) of K > 2 classes.

    `n_classes` is 0 for regression.
    """
    solver = RidgeSolver(X, groups)
    if n_classes:
        scores = classify(solver, labels_NP, n_classes, X_test)
    else:
        scores = solver.predict(solver.solve(labels_NP[:, :, None]), X_test)
    return scores[:, :, 0] if scores.shape[2] == 1 else scores


def recentre(X: Any, groups: Any) -> np.ndarray:
    """Standardise the features inside each group (subject), without labels.

    This is *transductive*: it uses the unlabelled test windows of a subject. It raises every method on EEG by a lot, so
    a score with it stands in a row of its own and beside baselines that got the same.
    """
    X = np.array(X, dtype=np.float64)
    groups = np.asarray(groups)
    # a feature that a subject lacks altogether stays missing
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        for name in np.unique(groups):
            rows = groups == name
            X[rows] = (X[rows] - np.nanmean(X[rows], axis=0)) / (np.nanstd(X[rows], axis=0) + 1e-6)
    return X
