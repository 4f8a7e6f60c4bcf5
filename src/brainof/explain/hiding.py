"""What can be hidden from a model (channels, regions, networks, time, bands), and features of windows without it.

Hiding tokens is what pretraining did: the model was made for windows that lack some. A band is filtered out.

Legend: B windows, C channels, P patches, N tokens, L latents, D width, K parts, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..channels import Channels, network_of
from ..errors import ConfigError, did_you_mean
from ..inference.batches import batches
from ..inference.examples import Examples
from ..model import BrainOF
from ..signals import SignalBatch
from ..utils.modules import evaluating, to_device
from ..utils.threads import side_by_side

#: Frequency bands (Hz) that are filtered out; fMRI: the slow bands of Zuo et al. (2010)
BANDS: dict[str, dict[str, tuple[float, float]]] = {
    "eeg": {"delta": (1, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 80)},
    "fmri": {"slow-5": (0.01, 0.027), "slow-4": (0.027, 0.073), "slow-3": (0.073, 0.198)},
}
BANDS["meg"] = BANDS["eeg"]

KINDS = ("channel", "region", "network", "time", "band")

#: Windows in a batch
BATCH = 16

#: Features (N, F) of all windows, and (K, N, F) with each part hidden; float32
Features = tuple[np.ndarray, np.ndarray]


def token_parts(by: str, channels: Channels, n_patches: int, seconds_per_patch: float) -> dict[str, np.ndarray]:
    """Name of each part -> True for its patches, (C, P).

    A ConfigError for an unknown kind, or one that these channels do not have.
    """
    if by == "time":
        if n_patches < 2:
            raise ConfigError("a window is one patch long", field="by='time'", fix="explain longer windows")
        edges = np.arange(n_patches + 1) * seconds_per_patch
        own = [np.tile(np.arange(n_patches) == p, (len(channels), 1)) for p in range(n_patches)]
        return {f"{edges[p]:.3g}-{edges[p + 1]:.3g} s": part for p, part in enumerate(own)}
    if by not in ("channel", "region", "network"):
        raise ConfigError(f"{by!r}", field="by", fix=did_you_mean(by, KINDS))
    groups = {name: [i] for i, name in enumerate(channels.names)} if by == "channel" else channel_groups(by, channels)
    every = np.arange(len(channels) * n_patches).reshape(-1, n_patches) // n_patches  # the row of each patch
    return {name: np.isin(every, rows) for name, rows in groups.items()}


def channel_groups(by: str, channels: Channels) -> dict[str, list[int]]:
    """Name of each region of the head or network of the atlas -> rows of its channels.

    A ConfigError for fewer than two: no positions, or names that tell no network.
    """
    named = [network_of(name) for name in channels.names]
    if by == "region":  # by the direction from the centre of the head
        centre = (0.0, -0.018, 0.012) if channels.frame == "mni" else (0.0, 0.0, 0.04)
        right, front, up = (channels.positions - centre).T
        turned = np.degrees(np.arctan2(abs(right), front))  # 0 is the nose, 180 the back
        raised = np.degrees(np.arctan2(up, np.hypot(right, front)))
        conditions = [~channels.located, raised > 55, turned < 50, turned > 130, right > 0]
        names = ["", "central", "frontal", "parieto-occipital", "right temporal"]
        named = np.select(conditions, names, "left temporal").tolist()
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(named):
        if name:
            groups.setdefault(name, []).append(row)
    if len(groups) < 2:
        found = "positions are unknown" if by == "region" else f"names such as {channels.names[0]!r} name no network"
        raise ConfigError(found, field=f"by='{by}'", fix="explain by channel")
    return dict(sorted(groups.items()))


def bands_of(modality: str, sfreq: float, n_times: int) -> Mapping[str, tuple[float, float]]:
    """The bands of a modality that a window can hold: below the Nyquist frequency, and at least one full cycle long."""
    half, lowest = sfreq / 2, sfreq / n_times
    return {name: (lo, min(hi, half)) for name, (lo, hi) in BANDS[modality].items() if lo < half and hi > lowest}


def grid_of(model: BrainOF, examples: Examples) -> tuple[int, float]:
    """Patches per channel of the longest window, on the time grid of the model, and the seconds of one."""
    grids = [model.on_grid(examples.batch(rows)) for rows in batches(examples, np.arange(len(examples)), BATCH)]
    patch = model.config.patch
    return max(grid.signal_BCT.shape[2] for grid in grids) // patch, patch * float(grids[0].interval_B[0])


def hidden_features(model: BrainOF, examples: Examples, parts: Sequence[np.ndarray], pool: str = "auto") -> Features:
    """Of tokens; a part is True for its patches, (C, P) on the time grid of the model; windows may be shorter."""

    def encode(batch: SignalBatch) -> list[Tensor]:
        tokens = model.tokens(model.on_grid(batch))
        own = [np.flatnonzero(part[:, : tokens.n_patches]) for part in parts]
        nothing = np.zeros(0, np.int64)
        hidden = [torch.as_tensor(part, device=tokens.patch_BNS.device) for part in (nothing, *own)]
        latents = model.encode_without(tokens, hidden)
        return [model.pool(each, pool, batch.modality).float().cpu() for each in latents]

    return _all_windows(model, examples, encode)


def filtered_features(model: BrainOF, examples: Examples, bands: Sequence[tuple], pool: str = "auto") -> Features:
    """As `hidden_features`, with each band (low, high in Hz) taken out of the signal by its Fourier components."""

    def encode(batch: SignalBatch) -> list[Tensor]:
        layout = model.layout(batch)
        signals = [batch.signal_BCT, *(band_stopped(batch, band) for band in bands)]
        found = [model.forward_features(replace(batch, signal_BCT=signal), layout) for signal in signals]
        return [model.pool(each, pool, batch.modality).float().cpu() for each in found]

    return _all_windows(model, examples, encode)


def _all_windows(model: BrainOF, examples: Examples, encode: Callable[[SignalBatch], list[Tensor]]) -> Features:
    threads = min(torch.get_num_threads(), 8) if next(model.parameters()).device.type == "cpu" else 1
    rows = list(batches(examples, np.arange(len(examples)), BATCH, threads=threads))

    def job(own: np.ndarray) -> np.ndarray:
        with torch.inference_mode():  # a thread's own
            return torch.stack(encode(to_device(examples.batch(own), model))).numpy()

    with evaluating(model):
        made = list(side_by_side(job, rows, min(threads, len(rows))))
    features = np.empty((made[0].shape[0], len(examples), made[0].shape[2]), np.float32)
    for own, part in zip(rows, made, strict=True):
        features[:, own] = part
    return features[0], features[1:]


def band_stopped(batch: SignalBatch, band: tuple[float, float]) -> Tensor:
    """The signal without its Fourier components in a band (Hz), each window within its own length."""
    signal_BCT = batch.signal_BCT.clone()
    for row, n_times in enumerate(batch.n_times_B.tolist()):
        spectrum = torch.fft.rfft(signal_BCT[row, :, :n_times])
        hz = torch.fft.rfftfreq(n_times, float(batch.interval_B[row]), device=spectrum.device)
        spectrum[:, (hz >= band[0]) & (hz < band[1])] = 0
        signal_BCT[row, :, :n_times] = torch.fft.irfft(spectrum, n_times)
    return signal_BCT
