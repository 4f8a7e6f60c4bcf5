"""What of hidden segments the rest of a window tells: the explained variance of the best linear predictor.

    segments_DATASET_RATIO      samples of segments hidden in all channels, from the visible ones of the same channel

The masks are those of the recipe `published` (segments of one patch). The predictor is the conditional mean of a
stationary Gaussian process with the mean autocovariance of two thirds of the people, applied to the others: it takes
nothing from other channels, which are hidden at the same time. A model that is trained on as little can hardly beat it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import toeplitz

from brainof.corpus import Windows, open_corpora

Line = tuple[str, float, str]
#: Samples of a patch; windows that the autocovariance is of, and that are predicted
PATCH, FITTED, PREDICTED = 64, 120, 40
#: Variance of the noise of the predictor, in units of that of the signal
NOISE = 1e-2


def explained(train_BCT: np.ndarray, test_BCT: np.ndarray, ratio: float, rng: np.random.Generator) -> float:
    """1 - squared error / square, over the hidden samples."""
    times = train_BCT.shape[2]
    rows = train_BCT.reshape(-1, times)
    covariance = rows.T @ rows / len(rows)
    # sums over all lags divided by one number, so that no combination of samples has a negative variance
    covariance = toeplitz([np.trace(covariance, lag) / times for lag in range(times)])
    segments, error, square = -(-times // PATCH), 0.0, 0.0
    for window_CT in test_BCT:
        chosen = rng.permutation(segments) < min(max(1, round(ratio * segments)), segments - 1)
        hidden = np.repeat(chosen, PATCH)[:times]
        seen = covariance[np.ix_(~hidden, ~hidden)] + NOISE * covariance[0, 0] * np.eye((~hidden).sum())
        map_TS = np.linalg.solve(seen, covariance[np.ix_(~hidden, hidden)])
        error += np.square(window_CT[:, hidden] - window_CT[:, ~hidden] @ map_TS).sum()
        square += np.square(window_CT[:, hidden]).sum()
    return float(1 - error / square)


def run(corpus: str) -> Iterator[Line]:
    """The lines of this benchmark, of all datasets of three people or more."""
    windows = open_corpora([corpus])
    index = windows.columns(["view", "dataset", "subject", "n_channels", "n_times"])
    for name, rows in index[index["view"] == "pretrain"].groupby("dataset", observed=True):
        shapes = rows.groupby(["n_channels", "n_times"], observed=True).indices
        rows = rows.iloc[max(shapes.values(), key=len)].sample(frac=1, random_state=0)  # the most frequent shape
        held_out = rows["subject"].isin(sorted(set(rows["subject"]))[::3])
        if rows["subject"].nunique() < 3 or rows["n_times"].iloc[0] < 2 * PATCH:
            continue
        parts = rows[~held_out][:FITTED], rows[held_out][:PREDICTED]
        train, test = (_signals(windows, part.index.tolist()) for part in parts)
        for ratio in (0.5, 0.7):
            value = explained(train, test, ratio, np.random.default_rng(0))
            yield f"segments_{name}_{ratio}", value, "explained variance"


def _signals(windows: Windows, rows: list[int]) -> np.ndarray:
    """The windows (B, C, T), without padding."""
    batch = windows.batch(rows, patch=PATCH)
    return batch.signal_BCT.numpy()[:, :, : int(batch.n_times_B[0])]
