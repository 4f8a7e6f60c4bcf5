"""What can be hidden from a model: channels, regions of the head, networks of an atlas, stretches of time, bands."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..channels import Channels, network_of
from ..errors import ConfigError, did_you_mean

#: Frequency bands (Hz) that are filtered out; fMRI: the slow bands of Zuo et al. (2010)
BANDS: dict[str, dict[str, tuple[float, float]]] = {
    "eeg": {"delta": (1, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 80)},
    "fmri": {"slow-5": (0.01, 0.027), "slow-4": (0.027, 0.073), "slow-3": (0.073, 0.198)},
}
BANDS["meg"] = BANDS["eeg"]

KINDS = ("channel", "region", "network", "time", "band")


def token_parts(by: str, channels: Channels, n_patches: int, seconds_per_patch: float) -> dict[str, np.ndarray]:
    """Name of each part -> numbers of its tokens (channel-major, as in `model.tokens`).

    A ConfigError for an unknown kind, or one that these channels do not have.
    """
    if by == "time":
        if n_patches < 2:
            raise ConfigError("a window is one patch long", field="by='time'", fix="explain longer windows")
        tokens_CP = np.arange(len(channels) * n_patches).reshape(len(channels), n_patches)
        edges = np.arange(n_patches + 1) * seconds_per_patch
        return {f"{edges[p]:.3g}-{edges[p + 1]:.3g} s": tokens_CP[:, p] for p in range(n_patches)}
    if by not in ("channel", "region", "network"):
        raise ConfigError(f"{by!r}", field="by", fix=did_you_mean(by, KINDS))
    groups = {name: [i] for i, name in enumerate(channels.names)} if by == "channel" else channel_groups(by, channels)
    own = np.arange(n_patches)
    return {name: (np.array(rows)[:, None] * n_patches + own).ravel() for name, rows in groups.items()}


def channel_groups(by: str, channels: Channels) -> dict[str, list[int]]:
    """Name of each region of the head or network of the atlas -> rows of its channels.

    A ConfigError for fewer than two: no positions, or names that tell no network.
    """
    named = _regions(channels) if by == "region" else [network_of(name) for name in channels.names]
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(named):
        if name:
            groups.setdefault(name, []).append(row)
    if len(groups) < 2:
        found = "positions are unknown" if by == "region" else f"names such as {channels.names[0]!r} name no network"
        raise ConfigError(found, field=f"by='{by}'", fix="explain by channel")
    return dict(sorted(groups.items()))


def _regions(channels: Channels) -> list[str]:
    """Frontal, central, ... of each channel, by its direction from the centre of the head; empty where unknown."""
    names = []
    centre = np.array([0.0, -0.018, 0.012] if channels.frame == "mni" else [0.0, 0.0, 0.04])
    for position, known in zip(channels.positions, channels.located, strict=True):
        if not known:
            names.append("")
            continue
        right, front, up = position - centre
        turned = np.degrees(np.arctan2(abs(right), front))  # 0 is the nose, 180 the back
        raised = np.degrees(np.arctan2(up, np.hypot(right, front)))
        if raised > 55:
            names.append("central")
        elif turned < 50:
            names.append("frontal")
        elif turned > 130:
            names.append("parieto-occipital")
        else:
            names.append("right temporal" if right > 0 else "left temporal")
    return names


def bands_of(modality: str, sfreq: float, n_times: int) -> Mapping[str, tuple[float, float]]:
    """The bands of a modality that a window can hold: below the Nyquist frequency, and at least one full cycle long."""
    half, lowest = sfreq / 2, sfreq / n_times
    return {name: (lo, min(hi, half)) for name, (lo, hi) in BANDS[modality].items() if lo < half and hi > lowest}
