"""L_freq as published: the raw Fourier components of the reconstructed window.

Shape suffixes: B windows, C channels, T samples, N tokens (channel-major), H predicted patches, S samples per patch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .comparison import Comparison, Term


def raw_component_loss(
    difference_BCT: Tensor,
    n_predicted_B: Tensor,
    *,
    n_times_B: Tensor,
    channel_mask_BC: Tensor,
    place_BC: Tensor | None = None,
    n_places: int = 0,
    length: int | None = None,
) -> Tensor:
    """Smooth L1 of the Fourier components of (reconstruction - target): each window's mean, times its predicted
    patches.

    The published form: components along time in each channel (EEG, MEG), over the samples of each window, or for fMRI
    across the `n_places` ordered regions of the atlas, in which channels have `place_BC`, at each time point. The
    transform is linear, so that of the difference is the difference of the transforms. `difference_BCT` is zero where a
    sample is padding, of a bad channel, or not predicted: that counts as reconstructed, as do regions not at hand.
    `length` is the number of samples of all windows where it is one.
    """
    if place_BC is not None:
        shape = (len(difference_BCT), n_places, difference_BCT.shape[2])
        index_BCT = place_BC[..., None].expand_as(difference_BCT)
        ordered = difference_BCT.new_zeros(shape).scatter_add(1, index_BCT, difference_BCT)
        error = _components(ordered, dim=1).mean(1)  # (B, T); zero in the padding
        return (error.sum(-1) / n_times_B * n_predicted_B).sum()
    if length is not None:
        error = _components(difference_BCT[:, :, :length], dim=2).mean(2)
        return (error.sum(-1) / channel_mask_BC.sum(-1) * n_predicted_B).sum()
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


def _loss(of: Comparison) -> Tensor:
    """Along time in each channel, or for fMRI across the ordered regions."""
    masked, batch = of.masked, of.masked.batch
    difference_BHS = (of.outputs["waveform"] - of.target_BHS) * of.sample_mask_BHS
    B, C, T = batch.signal_BCT.shape
    S = difference_BHS.shape[-1]
    difference_BNS = difference_BHS.new_zeros(B, C * T // S, S)
    index_BHS = masked.predicted_BH[..., None].expand_as(difference_BHS)
    difference_BNS = difference_BNS.scatter_add(1, index_BHS, difference_BHS)
    return raw_component_loss(
        difference_BNS.reshape(B, C, T),
        of.n_predicted_B,
        n_times_B=batch.n_times_B,
        channel_mask_BC=batch.channel_mask_BC,
        place_BC=masked.place_BC if batch.modality == "fmri" else None,
        n_places=masked.n_places,
        length=T if batch.checked is not None and batch.checked.complete else None,
    )


TERM = Term(_loss, "waveform")
