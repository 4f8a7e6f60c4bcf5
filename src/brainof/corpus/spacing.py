"""Even spacing: round shares to whole numbers, and put groups at even distances in one series."""

from __future__ import annotations

import numpy as np


def allot(expected: np.ndarray, total: int, offset: float) -> np.ndarray:
    """Round numbers that sum to `total` up or down such that the sum stays (systematic sampling).

    Neighbours are rounded jointly: a run of them that sums to one or more gets at least one.
    """
    ends = np.concatenate([[0.0], np.cumsum(expected)])
    ends[-1] = total
    return np.diff(np.ceil(ends - offset).astype(np.int64))


def spread(counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An order of items, given in groups of `counts`, in which every group is spread evenly over the whole."""
    group = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.argsort((place + random.random(len(group))) / counts[group], kind="stable")


def at_even_distances(counts: np.ndarray) -> np.ndarray:
    """A series in which number i occurs counts[i] times, at distances as even as can be."""
    group = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    # each at a phase of its own, the same in every epoch, so that the distance across its end is an even one too
    return group[np.argsort((place + (group + 0.5) / len(counts)) / counts[group], kind="stable")]
