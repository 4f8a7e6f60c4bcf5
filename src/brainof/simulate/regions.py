"""The simulated cortex: regions with centroids, orientations, networks and distances."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..channels import Channels
from ..errors import did_you_mean

# Ellipsoid through the centroids of cortical regions, MNI space (metres), and its counterpart in the head frame of the
# template head. The map between the two is linear; it is a convention of the simulation, not a registration.
_MNI_CENTRE = np.array([0.0, -0.018, 0.014])
_MNI_AXES = np.array([0.060, 0.080, 0.058])
_HEAD_CENTRE = np.array([0.0, 0.015, 0.050])
_HEAD_AXES = np.array([0.058, 0.073, 0.058])

# Directions that name the networks: MNI coordinates (mm) in the right hemisphere, from the usual seed regions
_ANCHORS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "visual": ((12, -92, 4), (32, -84, -4), (8, -78, 2)),
    "somatomotor": ((40, -22, 58), (56, -8, 34), (6, -20, 66)),
    "auditory": ((60, -22, 8), (58, -4, 0)),
    "dorsal_attention": ((24, -62, 56), (28, -4, 58)),
    "frontoparietal": ((44, 34, 28), (48, -48, 46)),
    "salience": ((46, 20, 2), (6, 22, 52)),
    "default": ((8, -62, 34), (46, -68, 30), (8, 56, 20), (60, -12, -20)),
    "limbic": ((36, 14, -34), (14, 34, -22), (30, -14, -32)),
}
NETWORKS: tuple[str, ...] = tuple(_ANCHORS)


@dataclass(frozen=True, eq=False)
class Regions:
    """N cortical regions; the first half lies in the left hemisphere, region i + N/2 mirrors region i."""

    names: tuple[str, ...]  # such as "L_visual_1"
    networks: np.ndarray  # str, (N,)
    positions: np.ndarray  # (N, 3): head frame, metres
    mni: np.ndarray  # (N, 3): MNI space, metres
    #: (N, 3): unit direction of the net current, the outward normal tilted by 20 to 80 degrees as in folded cortex
    orientations: np.ndarray
    distances: np.ndarray  # (N, N): metres

    def __len__(self) -> int:
        return len(self.names)

    def by_network(self, values: dict, elsewhere: float = 0.0) -> np.ndarray:
        """A value per region from a value per network."""
        return np.array([values.get(network, elsewhere) for network in self.networks], dtype=np.float64)

    @property
    def network_index(self) -> np.ndarray:
        """Place of each region's network in NETWORKS, shape (N,)."""
        return np.array([NETWORKS.index(network) for network in self.networks])

    @property
    def left(self) -> np.ndarray:
        """Bool (N,): left hemisphere."""
        return np.arange(len(self)) < len(self) // 2

    def picks(self, rois: int | Sequence[str] | None = None) -> np.ndarray:
        """Numbers of regions in atlas order: the first n, or those named (regions, networks); ValueError if unknown."""
        n = len(self)
        rois = n if rois is None else rois
        if isinstance(rois, int):
            if not 1 <= rois <= n:
                raise ValueError(f"rois is {rois}: the cortex has {n} regions (sources.regions)")
            return np.arange(rois)
        chosen = np.zeros(n, bool)
        for roi in rois:
            found = (self.networks == roi) | (np.array(self.names) == roi)
            if not found.any():
                raise ValueError(f"rois: no region or network {roi!r}; {did_you_mean(roi, [*self.names, *NETWORKS])}")
            chosen |= found
        if not len(rois):
            raise ValueError("rois is empty: name one region at least")
        return np.flatnonzero(chosen)

    def channels(self, rois: int | Sequence[str] | None = None) -> Channels:
        """Channel table of some regions (see `picks`), ids of the whole atlas; a subset has an atlas of its own."""
        picks = self.picks(rois)
        whole = np.array_equal(picks, np.arange(len(picks)))
        name = f"simulated-{len(self)}"
        return Channels(
            tuple(self.names[i] for i in picks),
            ("roi",) * len(picks),
            positions=self.mni[picks],
            labels=picks + 1,
            order=np.arange(len(picks)),
            frame="mni",
            atlas=name if whole else f"{name}-{zlib.crc32(picks.tobytes()):08x}",
        )

    def structure(self) -> np.ndarray:
        """Structural coupling (N, N), non-negative, zero diagonal, rows sum to 1: near, same network, homotopic."""
        n = len(self)
        weight = np.exp(-self.distances / 0.03)
        weight += 0.5 * np.exp(-self.distances / 0.1) * (self.networks[:, None] == self.networks)
        weight[np.arange(n), (np.arange(n) + n // 2) % n] += 0.5
        np.fill_diagonal(weight, 0)
        return weight / weight.sum(axis=1, keepdims=True)


@cache
def make_regions(n: int) -> Regions:
    """An even number n of quasi-uniform regions on an ellipsoidal cortex (Fibonacci lattice), the same for any seed."""
    rng = np.random.default_rng(20260223)  # folding is part of the template head, not of the cohort
    half = n // 2
    shell = _hemisphere(half)
    # the network of a region is that whose anchor has the largest cosine with its direction
    towards = (np.concatenate(list(_ANCHORS.values())) / 1000 - _MNI_CENTRE) / _MNI_AXES
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    network_of = np.repeat(np.arange(len(NETWORKS)), [len(anchors) for anchors in _ANCHORS.values()])
    index = network_of[np.argmax(shell @ towards.T, axis=1)]
    order = np.lexsort((shell[:, 1], index))
    shell, networks = shell[order], np.array(NETWORKS)[index[order]]
    depth = rng.uniform(0.84, 1.0, half)[:, None]
    normal = shell / _HEAD_AXES
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    tangent = np.cross(normal, rng.standard_normal((half, 3)))
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    tilt = np.deg2rad(rng.uniform(20, 80, half))[:, None]
    direction = np.cos(tilt) * normal + np.sin(tilt) * tangent
    mirror = np.array([-1.0, 1.0, 1.0])
    positions = _HEAD_CENTRE + depth * shell * _HEAD_AXES
    mni = _MNI_CENTRE + depth * shell * _MNI_AXES
    positions, mni, direction = (np.concatenate([right * mirror, right]) for right in (positions, mni, direction))
    numbers = [int((networks[: i + 1] == networks[i]).sum()) for i in range(half)]
    names = tuple(f"{side}_{networks[i]}_{numbers[i]}" for side in "LR" for i in range(half))
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
    return Regions(names, np.concatenate([networks, networks]), positions, mni, direction, distances)


def _hemisphere(n: int) -> np.ndarray:
    """n quasi-uniform unit directions of the right hemisphere, without the part where the brain stem leaves."""
    total = 2 * n
    while True:
        k = np.arange(total) + 0.5
        z = 1 - 2 * k / total
        angle = np.pi * (1 + np.sqrt(5)) * k
        points = np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], axis=1)
        kept = points[(points[:, 0] > 0.08) & (points[:, 2] > -0.6)]
        if len(kept) >= n:
            return kept[np.round(np.linspace(0, len(kept) - 1, n)).astype(int)]
        total += 1
