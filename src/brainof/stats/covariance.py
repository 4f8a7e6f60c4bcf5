"""Covariance matrices of windows and their tangent space, by pyRiemann. Legend: N matrices, C channels, T samples."""

from __future__ import annotations

import numpy as np


def covariances(windows_NCT: np.ndarray) -> np.ndarray:
    """Covariance (n, C, C) of each window (n, C, T), shrunk towards a scaled identity by OAS.

    Own code, since dead channels are made neutral between covariance and shrinkage, and all windows are done at once: a
    channel without variance (bad, zero-filled) gets the mean variance of the others, so that it is neutral instead of
    infinitely unusual. Oracle approximating shrinkage: Chen et al. 2010, eq. 23, in the form scikit-learn uses.
    """
    centred = windows_NCT - windows_NCT.mean(axis=2, keepdims=True)
    n_channels, n_times = centred.shape[1:]
    result = np.einsum("nct,ndt->ncd", centred, centred, optimize=True) / n_times
    variance = np.einsum("ncc->nc", result)
    dead = variance <= 1e-12 * variance.max(axis=1, keepdims=True, initial=0)
    alive = np.maximum((~dead).sum(axis=1), 1)
    filling = np.where(dead.all(axis=1), 1.0, (variance * ~dead).sum(axis=1) / alive)
    rows, channels = np.nonzero(dead)
    result[rows, channels, :] = 0
    result[rows, :, channels] = 0
    result[rows, channels, channels] = filling[rows]
    mean_variance = np.einsum("ncc->n", result) / n_channels
    mean_square = (result**2).mean(axis=(1, 2))
    numerator = mean_square + mean_variance**2
    denominator = (n_times + 1) * (mean_square - mean_variance**2 / n_channels)
    weight = np.ones(len(result))
    np.divide(numerator, denominator, out=weight, where=denominator > 0)
    weight = np.minimum(weight, 1.0)[:, None, None]
    return (1 - weight) * result + weight * mean_variance[:, None, None] * np.eye(n_channels)


def log_euclidean(matrices: np.ndarray) -> np.ndarray:
    """The matrix logarithm as vectors: a tangent space that needs no reference (Arsigny et al. 2007)."""
    from pyriemann.geometry.base import logm
    from pyriemann.geometry.tangentspace import upper

    return upper(logm(matrices))


class TangentSpace:
    """Tangent vectors at the affine-invariant mean of the training side (Barachant et al. 2012).

    Called with the rows of both sides of positive definite matrices (n, C, C), so that the reference never sees the
    test side. With more channels than `rank`, matrices are first projected on that many leading eigenvectors of the
    mean training matrix (Sabbagh et al. 2019): helmets are rank deficient, and the space grows with the square.
    """

    def __init__(self, matrices: np.ndarray, rank: int = 64) -> None:
        self.matrices, self.rank = matrices, rank
        self._references: dict[bytes, np.ndarray] = {}  # of training sides: most of the work, and small

    def __call__(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of the training and of the test rows."""
        from pyriemann.geometry.mean import mean_logeuclid, mean_riemann
        from pyriemann.geometry.tangentspace import tangent_space

        inside, outside = self.matrices[train], self.matrices[test]
        if inside.shape[1] > self.rank:
            leading = np.linalg.eigh(inside.mean(axis=0))[1][:, -self.rank :]
            inside, outside = leading.T @ inside @ leading, leading.T @ outside @ leading
        if (key := np.asarray(train).tobytes()) not in self._references:
            # a reference point: four digits are plenty, and the log-Euclidean mean is near
            self._references[key] = mean_riemann(inside, tol=1e-4, init=mean_logeuclid(inside))
        reference = self._references[key]
        return tangent_space(inside, reference), tangent_space(outside, reference)
