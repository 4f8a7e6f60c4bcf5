"""L_freq as log amplitudes, which an output of their own predicts.

Shape suffixes: B windows, C channels, T samples, P patches per channel, H predicted patches, S samples per patch, F
frequencies per patch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...model import log_spectrum
from ...model.tokens import SPECTRUM_FLOOR
from ..config import ObjectiveConfig
from ..masking import MaskedBatch
from .comparison import Comparison, Term, at_least_float32, patch_loss


def window_spectrum(signal_BCT: Tensor, n_times_B: Tensor, patch: int) -> Tensor:
    """Log amplitude (B, C, F) of each channel from the mean power of its whole patches, scaled as `log_spectrum`."""
    patch_BCPS = signal_BCT.to(at_least_float32(signal_BCT)).unflatten(-1, (-1, patch))
    whole_BP = torch.arange(patch_BCPS.shape[2], device=signal_BCT.device) < (n_times_B // patch)[:, None]
    weight_B1P1 = whole_BP[:, None, :, None].to(patch_BCPS.dtype)
    power_BCPF = torch.fft.rfft(patch_BCPS, norm="ortho").abs().square()
    mean_BCF = (power_BCPF * weight_B1P1).sum(2) / weight_B1P1.sum(2).clamp(min=1)
    return (mean_BCF.sqrt() + SPECTRUM_FLOOR).log()


def spectra(masked: MaskedBatch, target_BHS: Tensor, config: ObjectiveConfig) -> Tensor:
    """Log spectra (B, H, F) that the output `log_spectrum` is compared with."""
    if config.spectrum_of == "patch":
        return log_spectrum(target_BHS)
    patch = target_BHS.shape[-1]
    channel_BCF = window_spectrum(masked.batch.signal_BCT, masked.batch.n_times_B, patch)
    channel_BH = masked.predicted_BH // (masked.batch.signal_BCT.shape[2] // patch)
    return channel_BCF.gather(1, channel_BH[..., None].expand(-1, -1, channel_BCF.shape[2]))


def _loss(of: Comparison) -> Tensor:
    full_BH = of.sample_mask_BHS.all(-1)  # a patch that ends in padding has no spectrum
    return patch_loss(of.outputs["log_spectrum"], spectra(of.masked, of.target_BHS, of.config), full_BH)


TERM = Term(_loss, "log_spectrum")
