"""L_time: the samples of the predicted patches."""

from __future__ import annotations

from torch import Tensor

from .comparison import Term, smooth_l1


def waveform_loss(predicted_BHS: Tensor, target_BHS: Tensor, sample_mask_BHS: Tensor) -> Tensor:
    """Smooth L1 of patches, averaged over the valid samples of each and summed over patches."""
    error = smooth_l1(predicted_BHS, target_BHS) * sample_mask_BHS
    return (error.sum(-1) / sample_mask_BHS.sum(-1).clamp(min=1)).sum()


TERM = Term(lambda of: waveform_loss(of.outputs["waveform"], of.target_BHS, of.sample_mask_BHS), "waveform")
