"""The named reconstruction losses. Each returns a sum over hidden elements; the caller divides by their global count.

Shape suffixes: B windows, C channels, P patches, N = C * P tokens, S samples per patch, F frequencies per patch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: added to the amplitude before the logarithm: silence stays finite, and 5 % of a unit amplitude is below the noise
LOG_FLOOR = 0.05


def log_spectrum(patch_BNS: Tensor) -> Tensor:
    """Log amplitude spectrum of each patch, shape (B, N, S // 2 + 1), with an orthonormal transform."""
    return torch.log(torch.fft.rfft(patch_BNS.float(), norm="ortho").abs() + LOG_FLOOR)


def waveform_loss(predicted_BNS: Tensor, target_BNS: Tensor, hidden_BN: Tensor, sample_mask_BNS: Tensor) -> Tensor:
    """Smooth L1 of hidden patches, summed over patches and averaged over the valid samples of each."""
    error = F.smooth_l1_loss(predicted_BNS.float(), target_BNS.float(), reduction="none") * sample_mask_BNS
    per_patch = error.sum(-1) / sample_mask_BNS.sum(-1).clamp(min=1)
    return (per_patch * hidden_BN).sum()


def log_spectrum_loss(predicted_BNF: Tensor, target_BNS: Tensor, hidden_BN: Tensor, full_BN: Tensor) -> Tensor:
    """Smooth L1 between predicted outputs and the log spectrum of hidden, fully valid patches, summed over patches."""
    error = F.smooth_l1_loss(predicted_BNF.float(), log_spectrum(target_BNS), reduction="none").mean(-1)
    return (error * (hidden_BN & full_BN)).sum()


def raw_component_loss(
    predicted_BNS: Tensor, target_BNS: Tensor, hidden_BN: Tensor, n_channels: int, along_channels: bool
) -> Tensor:
    """Smooth L1 of real and imaginary Fourier components of the whole window, scaled to the number of hidden patches.

    The published form: along time in each channel (EEG, MEG) or across the ordered regions at each time point (fMRI).
    Visible patches are taken from the target, so that only the reconstruction of hidden ones is judged.
    """
    completed = torch.where(hidden_BN[..., None], predicted_BNS.float(), target_BNS.float())
    B, N, S = completed.shape

    def components(patch_BNS: Tensor) -> Tensor:
        window_BCT = patch_BNS.reshape(B, n_channels, N // n_channels * S)
        return torch.view_as_real(torch.fft.rfft(window_BCT, dim=1 if along_channels else 2, norm="ortho"))

    error = F.smooth_l1_loss(components(completed), components(target_BNS.float()), reduction="none")
    return error.mean() * hidden_BN.sum()
