"""Classical baselines: pure functions features(windows (n, C, T), sfreq) -> (n, F), listed per modality in `BASELINES`.

Adding one is a function and an entry. Those with a reference that must be learnt on the training side return a callable
(train, test) -> (features of train, features of test) instead of an array. Nothing is tuned but the penalty of the
read-out, on inner folds over people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.signal import butter, sosfiltfilt, welch

from ..errors import ConfigError, check_known
from ..stats.covariance import TangentSpace, covariances, log_euclidean
from ..stats.metrics import similarity
from .transforms import Features

#: Hz: delta, theta, alpha, low beta, high beta, gamma
BANDS: tuple[tuple[float, float], ...] = ((1, 4), (4, 8), (8, 13), (13, 20), (20, 30), (30, 45))


def band_power(windows: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]] = BANDS) -> np.ndarray:
    """Log of the mean power density of each band and channel (Welch, 2 s segments, median over segments).

    The median over overlapping segments ignores a blink in one of them. Bands above the Nyquist frequency, or narrower
    than a bin, are left out; a channel without variance is NaN (missing), not minus infinity.
    """
    segment = min(windows.shape[2], round(2 * sfreq))
    frequencies, power = welch(windows.astype(np.float64), sfreq, nperseg=segment, average="median", axis=2)
    inside = [(frequencies >= low) & (frequencies < high) for low, high in bands]
    mean = [power[..., chosen].mean(axis=-1) for chosen in inside if chosen.any()]
    if not mean:
        mean = [power[..., 1:].mean(axis=-1)]
    return _log(np.concatenate(mean, axis=1))


def amplitude(windows: np.ndarray, sfreq: float) -> np.ndarray:
    """Log standard deviation of each channel: the control for tasks that amplitude alone solves."""
    return _log(windows.astype(np.float64).std(axis=2))


def covariance_log(windows: np.ndarray, sfreq: float) -> np.ndarray:
    """Matrix logarithm of the shrunk covariance: the tangent space at the identity."""
    return log_euclidean(covariances(windows.astype(np.float64)))


def functional_connectivity(windows: np.ndarray, sfreq: float) -> np.ndarray:
    """Fisher z of the correlations between regions, upper triangle, C (C - 1) / 2 values.

    Regions without variance (dead or masked) give zero, the correlation that says nothing.
    """
    centred = windows.astype(np.float64)
    centred = centred - centred.mean(axis=2, keepdims=True)
    norm = np.linalg.norm(centred, axis=2, keepdims=True)
    centred = centred / np.where(norm > 1e-8 * norm.max(axis=1, keepdims=True), norm, np.inf)
    rows, columns = np.triu_indices(windows.shape[1], 1)
    # one window at a time: the edges of 419 regions are 87,571, the full matrices of a cohort would not fit
    edges = [np.arctanh(np.clip((window @ window.T)[rows, columns], -0.999, 0.999)) for window in centred]
    return np.stack(edges)


def tangent_space(windows: np.ndarray, sfreq: float, rank: int = 64) -> TangentSpace:
    """Shrunk covariances on at most `rank` leading components, seen from the mean of the training side."""
    return TangentSpace(covariances(windows.astype(np.float64)), rank)


def filter_bank_tangent(windows: np.ndarray, sfreq: float) -> TangentSpace:
    """Covariance of copies of the channels, in the two bands of the stimuli of `muse_ssvep`, side by side."""
    filters = [butter(4, band, "bandpass", fs=sfreq, output="sos") for band in ((19, 21), (29, 31))]
    windows = windows.astype(np.float64)
    return TangentSpace(covariances(np.concatenate([sosfiltfilt(sos, windows, axis=2) for sos in filters], axis=1)))


_SENSORS: dict[str, Callable[[np.ndarray, float], Features]] = {
    "amplitude": amplitude,
    "band power": band_power,
    "log covariance": covariance_log,
}
#: modality -> name -> function; "amplitude" is the control everywhere
BASELINES: dict[str, dict[str, Callable[[np.ndarray, float], Features]]] = {
    "eeg": {**_SENSORS, "tangent space": tangent_space, "filter-bank tangent": filter_bank_tangent},
    # helmets hold about 32 independent components; the cost grows with the cube
    "meg": {**_SENSORS, "tangent space": partial(tangent_space, rank=32)},
    "fmri": {
        "amplitude": amplitude,
        # the level of a block of BOLD
        "block means": lambda windows, sfreq: windows.astype(np.float64).mean(axis=2),
        "functional connectivity": functional_connectivity,
        # what people who see the same thing have in common, moment by moment
        "time course": lambda windows, sfreq: windows.astype(np.float64).reshape(len(windows), -1),
    },
}


def nearest_mean(X: np.ndarray, y: np.ndarray, groups: np.ndarray, X_test: np.ndarray, n_classes: int) -> np.ndarray:
    """Correlation of each test row with the mean training row of each class; nothing is tuned."""
    if not n_classes:
        raise ConfigError("nearest mean predicts classes, not values", field="baselines")
    means = np.stack([X[y == code].mean(axis=0) for code in range(n_classes)])
    scores = similarity(X_test, means, standardised=False)
    return scores[:, 1] - scores[:, 0] if n_classes == 2 else scores


#: Baselines with a read-out of their own -> the features that it reads, and the read-out (see `evaluation.readouts`)
OWN: dict[str, tuple[str, Callable[..., np.ndarray]]] = {"nearest mean": ("block means", nearest_mean)}
#: Volumes below which an fMRI window is a block (its level counts), not a stretch of rest (its correlations count)
BLOCK_VOLUMES = 32


def default_baselines(modality: str, kind: str, n_times: int) -> list[str]:
    """Baselines of a task that names none, by what its windows are; `n_times` is that of the longest.

    Identification and matching compare single vectors, so they take no reference from a training side.
    """
    if kind == "matching" and modality == "fmri":
        return ["block means", "time course"]
    if modality == "fmri":
        return ["amplitude", "block means" if n_times < BLOCK_VOLUMES else "functional connectivity"]
    return ["amplitude", "band power", "log covariance" if kind in ("identification", "matching") else "tangent space"]


def baseline_features(
    name: str, modality: str, windows: Sequence[np.ndarray], sfreqs: Sequence[float] | np.ndarray
) -> Features:
    """A baseline on windows that may differ in length and rate (but not in channels); ConfigError if unknown."""
    known = BASELINES[modality]
    check_known(name, known, ConfigError, f"no {modality} baseline {{!r}}", field="baselines")
    kinds: dict[tuple[int, float], list[int]] = {}
    for row, (window, sfreq) in enumerate(zip(windows, sfreqs, strict=True)):
        kinds.setdefault((window.shape[1], float(sfreq)), []).append(row)
    parts: list[Any] = [
        known[name](np.stack([windows[row] for row in rows]), sfreq) for (_, sfreq), rows in kinds.items()
    ]
    order = np.argsort(np.concatenate([np.array(rows) for rows in kinds.values()]))
    if isinstance(parts[0], TangentSpace):
        return TangentSpace(np.concatenate([part.matrices for part in parts])[order], parts[0].rank)
    return np.concatenate(parts)[order]


def _log(values: np.ndarray) -> np.ndarray:
    """Log where there is power, NaN where there is none (below 1e-12 of the median of its row)."""
    floor = 1e-12 * np.median(values, axis=1, keepdims=True)
    return np.log(np.where(values > floor, values, np.nan))
