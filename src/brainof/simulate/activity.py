"""Slow local activity: the common cause of BOLD and of the amplitude of rhythms."""

from __future__ import annotations

import numpy as np
from scipy import fft

from .persons import Person
from .regions import NETWORKS, Regions
from .timeline import SLOW_RATE

#: Corner of the spectrum of spontaneous activity, Hz; power falls as 1 / f ** 2 above it
CORNER = 0.03
#: Loading of a region on the factor it shares with its counterpart in the other hemisphere, and on the whole brain
HOMOTOPIC, GLOBAL = 0.5, 0.35


def mixing(person: Person, regions: Regions) -> np.ndarray:
    """Loadings of regions on factors (brain, networks, pairs, private), rows of unit norm; M M^T is connectivity."""
    n = len(regions)
    member = (regions.networks[:, None] == np.array(NETWORKS)) * person.loadings[:, None]
    pair = HOMOTOPIC * np.tile(np.eye(n // 2), (2, 1))
    shared = np.concatenate([np.full((n, 1), GLOBAL), member, pair], axis=1)
    shared /= np.maximum(1, np.linalg.norm(shared, axis=1, keepdims=True) / 0.95)
    private = np.sqrt(1 - (shared**2).sum(axis=1))
    return np.concatenate([shared, np.diag(private)], axis=1)


def spontaneous(person: Person, regions: Regions, duration: float, rng: np.random.Generator) -> np.ndarray:
    """Spontaneous activity, shape (n_regions, ceil(duration * SLOW_RATE) + 1), float32, unit variance.

    Gaussian, with power 1 / (1 + (f / CORNER) ** 2) up to 1 Hz, mixed by `mixing`.
    """
    matrix = mixing(person, regions).astype(np.float32)
    needed = int(np.ceil(duration * SLOW_RATE)) + 1
    n_times = fft.next_fast_len(needed + 40 * SLOW_RATE, real=True)  # the surplus keeps start and end independent
    frequency = fft.rfftfreq(n_times, 1 / SLOW_RATE)
    power = np.where(frequency <= 1.0, 1 / (1 + (frequency / CORNER) ** 2), 0)
    power[0] = 0
    # irfft divides by n_times; 2 * sum(power) / n_times ** 2 is the variance of a factor
    scale = np.sqrt(power / (2 * power.sum())) * n_times
    shape = matrix.shape[1], len(frequency)
    spectrum = rng.standard_normal(shape, dtype=np.float32) + 1j * rng.standard_normal(shape, dtype=np.float32)
    factors = fft.irfft(spectrum * (scale / np.sqrt(2)).astype(np.float32), n=n_times)[:, :needed]
    return np.ascontiguousarray(matrix @ factors, dtype=np.float32)


def at_rate(slow: np.ndarray, rate: float, n_times: int, start: float = 0.0) -> np.ndarray:
    """Slow signals (rows at SLOW_RATE) interpolated linearly at `rate` Hz from `start` seconds; edges are held."""
    place = np.clip((start + np.arange(n_times) / rate) * SLOW_RATE, 0, slow.shape[-1] - 1)
    index = np.minimum(place.astype(int), slow.shape[-1] - 2)
    weight = (place - index).astype(slow.dtype)
    return slow[..., index] * (1 - weight) + slow[..., index + 1] * weight
