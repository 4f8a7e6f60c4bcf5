"""What MTFM hides: Fourier components and patches.

Shape suffixes: B windows, C channels, T samples, P patches per channel, N = C * P tokens (channel-major), V visible.
Randomness comes from one numpy Generator, or from `WindowRandom`, one stream per window, with which the mask of a
window does not depend on the windows it is batched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import RecordingError
from ..signals import SignalBatch
from .config import MaskConfig


class Random(Protocol):
    """Uniform numbers in [0, 1), the first axis numbering windows."""

    def random(self, size: tuple[int, ...], /) -> np.ndarray: ...


class WindowRandom:
    """Uniform numbers of several windows, each from a stream of its own.

    Parameters
    ----------
    seed : sequence of int
        What the windows share, such as (seed, epoch).
    windows : sequence of int
        What tells them apart, such as their rows in the corpus index.
    """

    def __init__(self, seed: Sequence[int], windows: Sequence[int]) -> None:
        self.streams = [np.random.default_rng([*seed, window]) for window in windows]

    def random(self, size: tuple[int, ...]) -> np.ndarray:
        return np.stack([stream.random(size[1:]) for stream in self.streams])

    def take(self, windows: Sequence[int]) -> WindowRandom:
        """The streams of some of the windows; they go on where they stand."""
        taken = WindowRandom((), ())
        taken.streams = [self.streams[window] for window in windows]
        return taken


def remove_components(
    signal_BCT: Tensor,
    *,
    dim: int,
    ratio: float,
    bands: int,
    rng: Random,
    n_used: int | None = None,
) -> Tensor:
    """Remove bands of Fourier components along `dim` (time for EEG and MEG, the ordered regions for fMRI).

    The spectrum's first `n_used` components are cut into about `bands` bands; a share `ratio` of them, drawn for each
    window, is set to zero. Because the transform sees the whole window, what stays visible keeps a linear trace of
    patches that are hidden afterwards; that is how the published objective is defined.

    Returns
    -------
    Tensor, same shape and dtype.
    """
    if ratio <= 0:
        return signal_BCT
    spectrum = torch.fft.rfft(signal_BCT.float(), dim=dim)
    n_components = spectrum.shape[dim]
    n_used = min(n_components, n_used or n_components)
    width = max(1, n_used // bands)
    n_bands = -(-n_used // width)
    chosen = rng.random((len(signal_BCT), n_bands)).argsort(axis=1) < round(ratio * n_bands)
    removed = np.zeros((len(signal_BCT), n_components), bool)
    removed[:, :n_used] = np.repeat(chosen, width, axis=1)[:, :n_used]
    shape = [len(signal_BCT), 1, 1]
    shape[dim] = n_components
    keep = torch.from_numpy(~removed).view(shape).to(signal_BCT.device)
    restored = torch.fft.irfft(spectrum * keep, n=signal_BCT.shape[dim], dim=dim)
    return restored.to(signal_BCT.dtype)


def without_components(batch: SignalBatch, mask: MaskConfig, rng: Random) -> Tensor:
    """The signal (B, C, T) with Fourier components removed, as far as there is signal.

    In time, each window is transformed over its own samples: padding would smear every component. Across regions, the
    transform runs in the order of the atlas, and regions without signal are zero before and after.
    """
    if mask.fourier_ratio <= 0:
        return batch.signal_BCT
    if batch.modality == "fmri":
        return _across_regions(batch, mask, rng)
    seen_BCT = batch.signal_BCT.clone()
    lengths_B, intervals_B = batch.n_times_B.cpu().numpy(), batch.interval_B.cpu().double().numpy()
    # of each window by itself: augmentation leaves windows of several rates in a batch
    used_B = (mask.fourier_max_hz * lengths_B * intervals_B).astype(np.int64) + 1
    for length, n_used in np.unique(np.stack([lengths_B, used_B], 1), axis=0).tolist():
        rows = np.flatnonzero((lengths_B == length) & (used_B == n_used))
        index = torch.from_numpy(rows).to(seen_BCT.device)
        seen_BCT[index, :, :length] = remove_components(
            batch.signal_BCT[index, :, :length],
            dim=2,
            ratio=mask.fourier_ratio,
            bands=mask.fourier_bands if mask.fourier_unit == "band" else n_used,
            rng=rng.take(rows.tolist()) if isinstance(rng, WindowRandom) else rng,
            n_used=n_used,
        )
    return seen_BCT


def _across_regions(batch: SignalBatch, mask: MaskConfig, rng: Random) -> Tensor:
    good_BC1 = batch.channel_mask_BC[..., None]
    order_BC = atlas_places(batch)
    place_BCT = order_BC[..., None].expand_as(batch.signal_BCT)
    # place p of the ordered axis holds the region whose rank is p
    ordered = torch.zeros_like(batch.signal_BCT).scatter(1, place_BCT, batch.signal_BCT * good_BC1)
    ordered = remove_components(
        ordered,
        dim=1,
        ratio=mask.fourier_ratio,
        bands=mask.fourier_bands if mask.fourier_unit == "band" else ordered.shape[1] // 2 + 1,
        rng=rng,
    )
    return ordered.gather(1, place_BCT) * good_BC1


def atlas_places(batch: SignalBatch) -> Tensor:
    """Place (B, C) of every channel on the ordered axis of the batch: its rank by atlas order, 0 to C - 1."""
    order_BC = batch.sensors.order_BC.expand(len(batch), -1)
    return order_BC.argsort(dim=1, stable=True).argsort(dim=1, stable=True)


def hide_patches(
    valid_BCP: np.ndarray, ratio: float, unit: str, rng: Random, region_BC: np.ndarray | None = None
) -> np.ndarray:
    """Choose the patches to hide.

    Parameters
    ----------
    valid_BCP : bool ndarray
        True for patches that hold signal; padding and bad channels are never hidden (there is nothing to predict).
    ratio : float
        Share of the units to hide; at least one is hidden and at least one stays visible.
    unit : {"patch", "segment", "channel", "region", "mixed"}
        See MaskConfig.unit. Where a window has a single unit of that kind, patches are hidden instead.
    rng : numpy Generator or WindowRandom
    region_BC : int ndarray, optional
        The region that each channel belongs to, for the unit "region"; see `regions`.

    Returns
    -------
    bool ndarray, shape (B, C, P)
    """
    n_windows, n_channels, n_patches = valid_BCP.shape
    if unit == "region" and region_BC is None:
        raise RecordingError("no regions were given", field="mask.unit=region", fix="pass region_BC")
    # first what has one size, then time-major: a window draws the same numbers whatever length it is padded to
    halved_B = rng.random((n_windows, 1))[:, 0] < 0.5
    draws_BCP = rng.random((n_windows, n_patches, n_channels)).transpose(0, 2, 1)
    hidden = np.zeros(valid_BCP.shape, bool)
    for row in range(n_windows):
        valid, draws = valid_BCP[row], draws_BCP[row]
        kind = ("patch" if halved_B[row] else "segment") if unit == "mixed" else unit
        if kind == "segment":
            order = np.broadcast_to(draws[:1], valid.shape)
        elif kind == "channel":
            order = np.broadcast_to(draws[:, :1], valid.shape)
        elif kind == "region" and region_BC is not None:
            order = np.broadcast_to(draws[region_BC[row], 0][:, None], valid.shape)
        else:
            order = draws
        candidates = np.unique(order[valid])
        if len(candidates) < 2:  # one segment, channel or region
            order, candidates = draws, np.unique(draws[valid])
        if len(candidates) < 2:
            raise RecordingError(
                "fewer than two units to choose from", field=f"mask.unit={unit}", fix="give longer windows"
            )
        n_hidden = min(max(1, round(ratio * len(candidates))), len(candidates) - 1)
        # a unit is hidden as a whole: its patches share one number
        hidden[row] = valid & (order <= candidates[n_hidden - 1])
    return hidden


def regions(batch: SignalBatch, size: int, rng: Random) -> np.ndarray:
    """Cut the channels of each window into neighbourhoods of about `size`, around channels drawn at random.

    Neighbours are near in space where all positions are known, in the order of the atlas or of the channels otherwise.

    Returns
    -------
    int ndarray, shape (B, C)
        Number of the channel at the centre of each channel's region.
    """
    sensors, good_BC = batch.sensors, batch.channel_mask_BC.cpu().numpy()
    n_windows, n_channels = good_BC.shape
    if bool(sensors.located_BC.all()):
        place = sensors.position_BC3.cpu().numpy()
    else:
        order_BC = sensors.order_BC.cpu().numpy()
        known = (order_BC >= 0).all(axis=1, keepdims=True)
        place = np.where(known, order_BC, np.arange(n_channels))[..., None].astype(float)
    draws_BC = rng.random((n_windows, n_channels))
    found = np.empty((n_windows, n_channels), np.int64)
    for row in range(n_windows):
        own = place[row if len(place) > 1 else 0]
        centres = np.argsort(np.where(good_BC[row], draws_BC[row], 2.0))
        centres = np.sort(centres[: max(2, round(good_BC[row].sum() / size))])
        found[row] = centres[((own[:, None] - own[centres]) ** 2).sum(-1).argmin(axis=1)]
    return found


def token_indices(chosen_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the chosen tokens of each window, filled up to the largest count.

    Returns
    -------
    index : int64 ndarray, shape (B, largest count)
        Token numbers in ascending order; fillers repeat the row's first one.
    mask : bool ndarray, same shape
        False for fillers.
    """
    counts = chosen_BN.sum(axis=1)
    order = np.argsort(~chosen_BN, axis=1, kind="stable")[:, : counts.max()]
    mask = np.arange(counts.max())[None] < counts[:, None]
    return np.where(mask, order, order[:, :1]), mask
