"""The reconstruction losses, a function each: sums over predicted patches, which the caller divides by their count.

Shape suffixes: B windows, C channels, T samples, H predicted patches, S samples per patch, F frequencies per patch, D
width. Predictions are compared in float32 at least.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.tokens import SPECTRUM_FLOOR


def at_least_float32(x: Tensor) -> torch.dtype:
    """float64 for float64, float32 for all else."""
    return torch.promote_types(x.dtype, torch.float32)


def _smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    return F.smooth_l1_loss(predicted.to(at_least_float32(predicted)), target, reduction="none")


def waveform_loss(predicted_BHS: Tensor, target_BHS: Tensor, sample_mask_BHS: Tensor) -> Tensor:
    """Smooth L1 of patches, averaged over the valid samples of each and summed over patches."""
    error = _smooth_l1(predicted_BHS, target_BHS) * sample_mask_BHS
    return (error.sum(-1) / sample_mask_BHS.sum(-1).clamp(min=1)).sum()


def log_spectrum_loss(predicted_BHF: Tensor, target_BHF: Tensor, full_BH: Tensor) -> Tensor:
    """Smooth L1 between predicted and true log spectra of patches without padding, summed over them."""
    error = _smooth_l1(predicted_BHF, target_BHF).mean(-1)
    return (error * full_BH).sum()


def window_spectrum(signal_BCT: Tensor, n_times_B: Tensor, patch: int) -> Tensor:
    """Log amplitude (B, C, F) of each channel from the mean power of its whole patches, scaled as `log_spectrum`."""
    patch_BCPS = signal_BCT.to(at_least_float32(signal_BCT)).unflatten(-1, (-1, patch))
    whole_BP = torch.arange(patch_BCPS.shape[2], device=signal_BCT.device) < (n_times_B // patch)[:, None]
    weight_B1P1 = whole_BP[:, None, :, None].to(patch_BCPS.dtype)
    power_BCPF = torch.fft.rfft(patch_BCPS, norm="ortho").abs().square()
    mean_BCF = (power_BCPF * weight_B1P1).sum(2) / weight_B1P1.sum(2).clamp(min=1)
    return (mean_BCF.sqrt() + SPECTRUM_FLOOR).log()


def raw_component_loss(
    difference_BCT: Tensor,
    n_predicted_B: Tensor,
    *,
    n_times_B: Tensor,
    channel_mask_BC: Tensor,
    place_BC: Tensor | None = None,
    n_places: int = 0,
) -> Tensor:
    """Smooth L1 of the Fourier components of (reconstruction - target): each window's mean, times its predicted
    patches.

    The published form: components along time in each channel (EEG, MEG), over the samples of each window, or for fMRI
    across the `n_places` ordered regions of the atlas, in which channels have `place_BC`, at each time point. The
    transform is linear, so that of the difference is the difference of the transforms. `difference_BCT` is zero where a
    sample is padding, of a bad channel, or not predicted: that counts as reconstructed, as do regions not at hand.
    """
    if place_BC is not None:
        shape = (len(difference_BCT), n_places, difference_BCT.shape[2])
        index_BCT = place_BC[..., None].expand_as(difference_BCT)
        ordered = difference_BCT.new_zeros(shape).scatter_add(1, index_BCT, difference_BCT)
        error = _components(ordered, dim=1).mean(1)  # (B, T); zero in the padding
        return (error.sum(-1) / n_times_B * n_predicted_B).sum()
    total = difference_BCT.new_zeros(())
    for length in n_times_B.unique().tolist():
        rows = n_times_B == length
        error = _components(difference_BCT[rows, :, :length], dim=2).mean(2)
        n_good = channel_mask_BC[rows].sum(-1)
        total = total + (error.sum(-1) / n_good * n_predicted_B[rows]).sum()
    return total


def _components(difference: Tensor, dim: int) -> Tensor:
    """Smooth L1 of the real and imaginary parts of the components along `dim`, averaged over the two."""
    components = torch.view_as_real(torch.fft.rfft(difference, dim=dim, norm="ortho"))
    return F.smooth_l1_loss(components, torch.zeros_like(components), reduction="none").mean(-1)


def connectivity_loss(predicted_BHD: Tensor, target_BHD: Tensor, mask_BH: Tensor) -> Tensor:
    """Smooth L1 between predicted and true correlation profiles of patches, summed over them."""
    error = _smooth_l1(predicted_BHD, target_BHD).mean(-1)
    return (error * mask_BH).sum()
