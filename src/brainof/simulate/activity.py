"""Slow local activity, the common cause of BOLD and of the amplitude of rhythms, and its BOLD: in tables and images."""

from __future__ import annotations

import numpy as np
from scipy import fft, stats
from scipy.spatial import cKDTree

from .persons import Person
from .regions import NETWORKS, Regions
from .timeline import SLOW_RATE

#: Corner of the spectrum of spontaneous activity, Hz; power falls as 1 / f ** 2 above it
CORNER = 0.03
#: Loading of a region on the factor it shares with its counterpart in the other hemisphere, and on the whole brain
HOMOTOPIC, GLOBAL = 0.5, 0.35
#: Mean signal of a region, arbitrary units of a scanner, and BOLD change per standard deviation of activity
BASELINE, PERCENT = 10_000.0, 0.01
#: Edge of a voxel and largest distance of one from the centre of its region, metres
VOXEL, REACH = 0.008, 0.018


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


def canonical_response(rate: float, delay: float = 6.0) -> np.ndarray:
    """Double-gamma haemodynamic response over 32 s, sampled at `rate` Hz, sum 1.

    Peak at `delay` - 1 s, undershoot about 10 s later, ratio 6 (Glover, NeuroImage 9:416, 1999; the parameters of SPM).
    """
    times = np.arange(0, 32, 1 / rate)
    response = stats.gamma.pdf(times, delay) - stats.gamma.pdf(times, delay + 10) / 6
    return response / response.sum()


def bold(activity: np.ndarray, t_r: float, n_volumes: int, delay: float = 6.0) -> np.ndarray:
    """BOLD change of regions at the middle of each volume, a fraction of the baseline, (n_regions, n_volumes), float32.

    `activity`, shape (n_regions, n_slow), is at SLOW_RATE in standard deviations; its first value is held before 0 s.
    """
    response = canonical_response(SLOW_RATE, delay).astype(np.float32)
    held = np.repeat(activity[:, :1], len(response), axis=1)
    padded = np.concatenate([held, activity], axis=1)
    size = fft.next_fast_len(padded.shape[1] + len(response), real=True)
    product = fft.rfft(padded, n=size) * fft.rfft(response, n=size)
    smooth = fft.irfft(product, n=size)[:, len(response) : padded.shape[1]]
    return (PERCENT * at_rate(smooth, 1 / t_r, n_volumes, start=t_r / 2)).astype(np.float32)


def label_volume(mni: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic label atlas: each voxel of the grid takes the label of the nearest centroid (n_regions, 3).

    Returns labels (x, y, z), int16: 0 outside, i + 1 for region i; and the affine, voxel indices to MNI millimetres.
    """
    low, high = mni.min(axis=0) - 0.02, mni.max(axis=0) + 0.02
    shape = np.ceil((high - low) / VOXEL).astype(int) + 1
    grid = low + VOXEL * np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    distance, nearest = cKDTree(mni).query(grid.reshape(-1, 3), distance_upper_bound=REACH)
    labels = np.where(np.isfinite(distance), nearest + 1, 0).astype(np.int16).reshape(shape)
    affine = np.diag([1000 * VOXEL] * 3 + [1.0])
    affine[:3, 3] = low * 1000
    return labels, affine


def paint(table: np.ndarray, labels: np.ndarray, rng: np.random.Generator, noise: float = 0.0) -> np.ndarray:
    """A 4-D image (x, y, z, n_volumes), float32: regions show their row of `table` and white `noise`, the rest is 0."""
    image = np.zeros((*labels.shape, table.shape[1]), np.float32)
    inside = labels > 0
    voxels = table[labels[inside] - 1]
    if noise:
        voxels = voxels + np.float32(noise) * rng.standard_normal(voxels.shape, dtype=np.float32)
    image[inside] = voxels
    return image
