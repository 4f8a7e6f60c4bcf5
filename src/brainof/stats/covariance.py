"""Geometry of covariance matrices: shrinkage, matrix functions, means, tangent space. Pure functions over stacks.

Legend: N matrices, C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def covariances(windows_NCT: np.ndarray, shrinkage: bool = True) -> np.ndarray:
    """Covariance of each window, shrunk towards a scaled identity by OAS.

    Parameters
    ----------
    windows_NCT : ndarray, shape (n, n_channels, n_times)
    shrinkage : bool
        Oracle approximating shrinkage (Chen et al. 2010, eq. 23, in the form scikit-learn uses).

    Returns
    -------
    covariances : ndarray, shape (n, n_channels, n_channels)
        Positive definite. A channel without variance (bad, zero-filled) gets the mean variance of the others, so that
        it is neutral instead of infinitely unusual.
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
    if not shrinkage:
        return result
    mean_variance = np.einsum("ncc->n", result) / n_channels
    mean_square = (result**2).mean(axis=(1, 2))
    numerator = mean_square + mean_variance**2
    denominator = (n_times + 1) * (mean_square - mean_variance**2 / n_channels)
    weight = np.ones(len(result))
    np.divide(numerator, denominator, out=weight, where=denominator > 0)
    weight = np.minimum(weight, 1.0)[:, None, None]
    return (1 - weight) * result + weight * mean_variance[:, None, None] * np.eye(n_channels)


def of_spectrum(
    matrices: np.ndarray, function: Callable[[np.ndarray], np.ndarray], positive: bool = True
) -> np.ndarray:
    """A function of symmetric matrices through their eigenvalues (positive: floored at 1e-12 of the largest)."""
    values, vectors = np.linalg.eigh(matrices)
    if positive:
        values = np.maximum(values, 1e-12 * values[..., -1:])
    return (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def upper(matrices: np.ndarray) -> np.ndarray:
    """Symmetric matrices as vectors of equal Euclidean norm: the diagonal, and off-diagonal entries times sqrt 2."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    return matrices[..., rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2))


def log_euclidean(matrices: np.ndarray) -> np.ndarray:
    """The matrix logarithm as vectors: a tangent space that needs no reference (Arsigny et al. 2007)."""
    return upper(of_spectrum(matrices, np.log))


def karcher_mean(matrices: np.ndarray, tolerance: float = 1e-6, iterations: int = 50) -> np.ndarray:
    """Mean under the affine-invariant metric by fixed-point steps from the log-Euclidean mean (Moakher 2005)."""
    mean = of_spectrum(of_spectrum(matrices, np.log).mean(axis=0), np.exp, positive=False)
    for _ in range(iterations):
        root = of_spectrum(mean, np.sqrt)
        inverse_root = of_spectrum(mean, lambda values: values**-0.5)
        step = of_spectrum(inverse_root @ matrices @ inverse_root, np.log).mean(axis=0)
        mean = root @ of_spectrum(step, np.exp, positive=False) @ root
        if np.linalg.norm(step) < tolerance * np.sqrt(len(step)):
            break
    return mean


class TangentSpace:
    """Tangent vectors at the affine-invariant mean of the training side (Barachant et al. 2012).

    Called with the rows of both sides, so that the reference never sees the test side.

    Parameters
    ----------
    matrices : ndarray, shape (n, n_channels, n_channels)
        Positive definite matrices of all rows.
    rank : int
        With more channels than this, matrices are first projected on that many leading eigenvectors of the mean
        training matrix (Sabbagh et al. 2019): helmets are rank deficient, and the space grows with the square.
    """

    def __init__(self, matrices: np.ndarray, rank: int = 64) -> None:
        self.matrices = matrices
        self.rank = rank

    def __call__(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features of the training and of the test rows."""
        inside, outside = self.matrices[train], self.matrices[test]
        if inside.shape[1] > self.rank:
            leading = np.linalg.eigh(inside.mean(axis=0))[1][:, -self.rank :]
            inside, outside = leading.T @ inside @ leading, leading.T @ outside @ leading
        # a reference point: four digits are plenty
        whitener = of_spectrum(karcher_mean(inside, tolerance=1e-4), lambda values: values**-0.5)
        return log_euclidean(whitener @ inside @ whitener), log_euclidean(whitener @ outside @ whitener)
