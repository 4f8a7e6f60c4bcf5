"""What may be done to features before a read-out. Everything that is fitted is fitted on the training side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..stats.covariance import log_euclidean
from ..stats.ridge import recentre

Sides = tuple[np.ndarray, np.ndarray]
#: (n, F) features, or a function (train, test) -> (features of train, features of test)
Features = np.ndarray | Callable[[np.ndarray, np.ndarray], Sides]
#: Features as they are; of no more dimensions than the model's; less each person's mean, test people too
PLAIN, EQUAL, RECENTRED = "plain", "equal", "recentred"


def leace(X: np.ndarray, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares concept erasure: the smallest linear change of X after which no linear map can predict Z.

    Returns the mean (F,) and eraser (F, F) of features X (n, F) and concepts Z (n, K), such as one column per person:
    erased features are `X - (X - mean) @ eraser`. Belrose et al. 2023, arXiv:2306.03819, theorem 4.2.
    """
    mean = X.mean(axis=0)
    X, Z = X - mean, Z - Z.mean(axis=0)
    values, vectors = np.linalg.eigh(X.T @ X / len(X))
    kept = values > values[-1] * 1e-10 if values[-1] > 0 else np.zeros(len(values), bool)
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    whitened = (vectors / root).T @ (X.T @ Z / len(X))  # covariance with Z, seen in white coordinates
    left, singular, _ = np.linalg.svd(whitened, full_matrices=False)
    left = left[:, singular > 1e-8 * max(singular[0], 1e-300)]
    return mean, (vectors / root) @ left @ left.T @ (vectors * root).T


def erased(X_train: np.ndarray, X_test: np.ndarray, groups: np.ndarray) -> Sides:
    """The axes that tell training people apart are erased (LEACE), for both sides alike."""
    X_train, X_test = filled(X_train, X_test)
    Z = (groups[:, None] == np.unique(groups)).astype(float)
    mean, eraser = leace(X_train, Z)
    return X_train - (X_train - mean) @ eraser, X_test - (X_test - mean) @ eraser


def centred(X_train: np.ndarray, X_test: np.ndarray, groups: np.ndarray) -> Sides:
    """Training people lose their own mean, test people the mean of training people: nothing is known of them."""
    X_train, X_test = filled(X_train, X_test)
    names, codes = np.unique(groups, return_inverse=True)
    means = np.stack([X_train[codes == code].mean(axis=0) for code in range(len(names))])
    return X_train - means[codes], X_test - means.mean(axis=0)


def filled(X_train: np.ndarray, X_test: np.ndarray) -> Sides:
    """Missing features (bad channels) take the training mean."""
    with np.errstate(invalid="ignore"):
        known = np.isfinite(X_train).any(axis=0)
    mean = np.zeros(X_train.shape[1])
    mean[known] = np.nanmean(np.where(np.isfinite(X_train[:, known]), X_train[:, known], np.nan), axis=0)
    return tuple(np.where(np.isfinite(X), X, mean) for X in (X_train, X_test))  # type: ignore[return-value]


def equal_dimension(X_train: np.ndarray, X_test: np.ndarray, width: int) -> Sides:
    """Both sides on at most `width` principal components of the training side."""
    if X_train.shape[1] <= width:
        return X_train, X_test
    X_train, X_test = filled(X_train.astype(np.float64), X_test.astype(np.float64))
    mean = X_train.mean(axis=0)
    X_train, X_test = X_train - mean, X_test - mean
    if X_train.shape[0] <= X_train.shape[1]:
        values, vectors = np.linalg.eigh(X_train @ X_train.T)
        kept = np.flatnonzero(values > values[-1] * 1e-12)[-width:]
        axes = X_train.T @ vectors[:, kept] / np.sqrt(values[kept])
    else:
        axes = np.linalg.eigh(X_train.T @ X_train)[1][:, -width:]
    return X_train @ axes, X_test @ axes


def both_sides(
    features: Features, train: np.ndarray, test: np.ndarray, groups: np.ndarray, option: str = PLAIN, width: int = 0
) -> Sides:
    """Features of the training and of the test rows with an option applied; `groups` are of all rows.

    Everything that is fitted sees the training side alone.
    """
    pair = features(train, test) if callable(features) else (features[train], features[test])
    inside, outside = (np.asarray(X, np.float64) for X in pair)
    if option == PLAIN:
        return inside, outside
    if option == EQUAL:
        return equal_dimension(inside, outside, width)
    if option == RECENTRED:  # transductive: it uses the unlabelled windows of test people
        return recentre(inside, groups[train]), recentre(outside, groups[test])
    if option == "centred":
        return centred(inside, outside, groups[train])
    # an axis per person in as many dimensions as it has samples cannot be told from noise
    return erased(*equal_dimension(inside, outside, width or 256), groups[train])


def narrowed(X: np.ndarray, most: int = 2048, width: int = 1024) -> np.ndarray:
    """Features on `width` fixed random directions where rows and features are both more than `most`; nothing is fitted.

    A ridge costs the cube of the smaller of the two: 5632 windows of 8192 features in 16 folds take hours.
    """
    if min(X.shape) <= most or not np.isfinite(X).all():
        return X
    directions = np.random.default_rng(0).standard_normal((X.shape[1], width), dtype=np.float32) / np.sqrt(width)
    return X.astype(np.float32) @ directions.astype(np.float32)


class SecondOrder:
    """Shrunk covariances (n, D, D) of latents -> their logarithms on `rank` leading directions of the training side."""

    def __init__(self, matrices: np.ndarray, rank: int = 32) -> None:
        self.matrices, self.rank = matrices, rank

    def __call__(self, train: np.ndarray, test: np.ndarray) -> Sides:
        mean = self.matrices[train].mean(axis=0, dtype=np.float64)
        leading = np.linalg.eigh(mean)[1][:, -self.rank :]
        inside, outside = (leading.T @ self.matrices[rows].astype(np.float64) @ leading for rows in (train, test))
        return log_euclidean(inside), log_euclidean(outside)
