"""The named reconstruction losses. Each returns a sum over hidden elements; the caller divides by their global count.

Shape suffixes: B windows, C channels, T samples, H hidden patches, S samples per patch, F frequencies per patch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import log_spectrum


def waveform_loss(predicted_BHS: Tensor, target_BHS: Tensor, sample_mask_BHS: Tensor) -> Tensor:
    """Smooth L1 of hidden patches, averaged over the valid samples of each and summed over patches."""
    error = F.smooth_l1_loss(predicted_BHS.float(), target_BHS, reduction="none") * sample_mask_BHS
    return (error.sum(-1) / sample_mask_BHS.sum(-1).clamp(min=1)).sum()


def log_spectrum_loss(predicted_BHF: Tensor, target_BHS: Tensor, full_BH: Tensor) -> Tensor:
    """Smooth L1 between predicted outputs and the log spectrum of hidden patches without padding, summed over them."""
    error = F.smooth_l1_loss(predicted_BHF.float(), log_spectrum(target_BHS), reduction="none").mean(-1)
    return (error * full_BH).sum()


def raw_component_loss(difference_BCT: Tensor, n_hidden: int, along_channels: bool) -> Tensor:
    """Smooth L1 of the Fourier components of (reconstruction - target), scaled to the number of hidden patches.

    The published form: components along time in each channel (EEG, MEG) or across the ordered regions at each time
    point (fMRI). The transform is linear, so that of the difference is the difference of the transforms; visible
    patches count as reconstructed.
    """
    components = torch.view_as_real(torch.fft.rfft(difference_BCT, dim=1 if along_channels else 2, norm="ortho"))
    return F.smooth_l1_loss(components, torch.zeros_like(components)) * n_hidden
