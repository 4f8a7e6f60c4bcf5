"""What MTFM hides: Fourier components and patches.

Shape suffixes: B windows, C channels, T samples, P patches per channel, N = C * P tokens (channel-major), V visible.
All randomness comes from a numpy Generator that the caller derives from (seed, step), so masks do not depend on workers
or devices.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import RecordingError


def remove_components(
    signal_BCT: Tensor,
    *,
    dim: int,
    ratio: float,
    bands: int,
    rng: np.random.Generator,
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


def hide_patches(valid_BCP: np.ndarray, ratio: float, unit: str, rng: np.random.Generator) -> np.ndarray:
    """Choose the patches to hide.

    Parameters
    ----------
    valid_BCP : bool ndarray
        True for patches that hold signal; padding and bad channels are never hidden (there is nothing to predict).
    ratio : float
        Share of the valid patches to hide; at least one patch is hidden and at least one stays visible.
    unit : {"patch", "segment", "channel", "mixed"}
        See MaskConfig.unit.
    rng : numpy Generator

    Returns
    -------
    bool ndarray, shape (B, C, P)
    """
    n_windows, n_channels, n_patches = valid_BCP.shape
    if unit == "mixed":
        unit = "patch" if rng.random() < 0.5 else "segment"
    if unit == "segment" and n_patches < 2:
        unit = "patch"
    if unit == "channel" and n_channels < 2:
        unit = "patch"
    if unit == "segment":
        order = np.repeat(rng.random((n_windows, 1, n_patches)), n_channels, axis=1)
    elif unit == "channel":
        order = np.repeat(rng.random((n_windows, n_channels, 1)), n_patches, axis=2)
    else:
        order = rng.random((n_windows, n_channels, n_patches))
    # ties inside a segment or channel are broken by nothing: a unit is hidden as a whole
    order = np.where(valid_BCP, order, np.inf).reshape(n_windows, -1)
    valid = valid_BCP.reshape(n_windows, -1)
    hidden = np.zeros_like(valid)
    for row in range(n_windows):
        candidates = np.unique(order[row, valid[row]])
        if len(candidates) < 2:
            raise RecordingError(
                "fewer than two units to choose from", field=f"mask.unit={unit}", fix="give longer windows"
            )
        n_hidden = min(max(1, round(ratio * len(candidates))), len(candidates) - 1)
        hidden[row] = valid[row] & (order[row] <= candidates[n_hidden - 1])
    return hidden.reshape(valid_BCP.shape)


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
