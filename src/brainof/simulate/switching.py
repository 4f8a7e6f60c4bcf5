"""Spontaneous switching between hidden brain states: a semi-Markov chain that all modalities share.

In state k the rhythms and the local activity of network k are lifted; the next state is drawn from the others. With
mean dwell time D a visit lasts D / 4 plus an exponential time of mean 3 D / 4: no visit is too short to be a state.
"""

from __future__ import annotations

import numpy as np

from .parameters import SwitchingParameters
from .regions import Regions
from .timeline import SLOW_RATE


def hidden_states(switching: SwitchingParameters, duration: float, rng: np.random.Generator) -> np.ndarray:
    """The state at every slow sample, shape (ceil(duration * SLOW_RATE) + 1,), int8; empty when switched off."""
    n_slow = int(np.ceil(duration * SLOW_RATE)) + 1
    if not switching.states:
        return np.zeros(0, np.int8)
    n_visits = int(4 * duration / switching.dwell) + 2  # as many as there can be at most, at the shortest dwell
    visits = switching.dwell * (0.25 + rng.exponential(0.75, n_visits))
    steps = np.concatenate([rng.integers(switching.states, size=1), rng.integers(1, switching.states, n_visits - 1)])
    visited = np.cumsum(steps) % switching.states  # a step of 1 ... n - 1 never stays
    return visited[np.searchsorted(np.cumsum(visits), np.arange(n_slow) / SLOW_RATE, side="right")].astype(np.int8)


def lifted(states: np.ndarray, regions: Regions) -> np.ndarray | None:
    """1 where the network of a region is up, shape (n_regions, n_slow), float32; None when switched off."""
    if not len(states):
        return None
    return (regions.network_index[:, None] == states).astype(np.float32)
