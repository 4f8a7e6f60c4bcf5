"""Terms that compare what the decoder made of patches: their samples, spectra, band powers and connectivity.

Shape suffixes: B windows, C channels, T samples, P patches per channel, N tokens (channel-major), H predicted patches,
S samples per patch, F frequencies per patch, K bands, D width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...model import log_spectrum
from ...model.connectivity import connectivity_profile
from ...model.tokens import SPECTRUM_FLOOR, Tokens, take_tokens
from ..config import ObjectiveConfig
from ..masking import MaskedBatch
from ..views import BANDS
from .comparison import Comparison, at_least_float32, patch_loss, smooth_l1

#: Standard deviation of the log amplitude of one component of Gaussian noise
NOISE = math.pi / math.sqrt(24)


def waveform_loss(predicted_BHS: Tensor, target_BHS: Tensor, sample_mask_BHS: Tensor) -> Tensor:
    """L_time: Smooth L1 of patches, averaged over the valid samples of each and summed over patches."""
    error = smooth_l1(predicted_BHS, target_BHS) * sample_mask_BHS
    return (error.sum(-1) / sample_mask_BHS.sum(-1).clamp(min=1)).sum()


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
    """L_freq as published: Smooth L1 of the Fourier components of (reconstruction - target), raw ones; each window's
    mean, times its predicted patches.

    Components along time in each channel (EEG, MEG), over the samples of each window, or for fMRI across the `n_places`
    ordered regions of the atlas, in which channels have `place_BC`, at each time point. The transform is linear, so
    that of the difference is the difference of the transforms. `difference_BCT` is zero where a sample is padding, of a
    bad channel, or not predicted: that counts as reconstructed, as do regions not at hand. `length` is the number of
    samples of all windows where it is one.
    """

    def errors(difference: Tensor, dim: int) -> Tensor:  # of real and imaginary parts, averaged over the two
        components = torch.view_as_real(torch.fft.rfft(difference, dim=dim, norm="ortho"))
        return F.smooth_l1_loss(components, torch.zeros_like(components), reduction="none").mean(-1).mean(dim)

    if place_BC is not None:
        shape = (len(difference_BCT), n_places, difference_BCT.shape[2])
        index_BCT = place_BC[..., None].expand_as(difference_BCT)
        ordered = difference_BCT.new_zeros(shape).scatter_add(1, index_BCT, difference_BCT)
        return (errors(ordered, 1).sum(-1) / n_times_B * n_predicted_B).sum()  # zero in the padding
    if length is not None:
        error_BC = errors(difference_BCT[:, :, :length], 2)
        return (error_BC.sum(-1) / channel_mask_BC.sum(-1) * n_predicted_B).sum()
    total = difference_BCT.new_zeros(())
    for length in n_times_B.unique().tolist():
        rows = n_times_B == length
        error_BC = errors(difference_BCT[rows, :, :length], 2)
        total = total + (error_BC.sum(-1) / channel_mask_BC[rows].sum(-1) * n_predicted_B[rows]).sum()
    return total


def raw(of: Comparison) -> Tensor:
    """Along time in each channel, or for fMRI across the ordered regions."""
    masked, batch = of.masked, of.masked.batch
    difference_BHS = (of.outputs["waveform"] - of.target_BHS) * of.sample_mask_BHS
    B, C, T = batch.signal_BCT.shape
    S = difference_BHS.shape[-1]
    index_BHS = masked.predicted_BH[..., None].expand_as(difference_BHS)
    difference_BNS = difference_BHS.new_zeros(B, C * T // S, S).scatter_add(1, index_BHS, difference_BHS)
    return raw_component_loss(
        difference_BNS.reshape(B, C, T),
        of.n_predicted_B,
        n_times_B=batch.n_times_B,
        channel_mask_BC=batch.channel_mask_BC,
        place_BC=masked.place_BC if batch.modality == "fmri" else None,
        n_places=masked.n_places,
        length=T if batch.checked is not None and batch.checked.complete else None,
    )


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


def spectrum(of: Comparison) -> Tensor:
    """L_freq as log amplitudes, which an output of their own predicts."""
    full_BH = of.sample_mask_BHS.all(-1)  # a patch that ends in padding has no spectrum
    return patch_loss(of.outputs["log_spectrum"], spectra(of.masked, of.target_BHS, of.config), full_BH)


def band_matrix(patch: int, sfreq: float, modality: str) -> Tensor:
    """Log spectrum (F) -> standardised band powers (K), shape (K, F) in float64.

    Log amplitudes less the line that fits them best over log frequency, averaged in bands, in units of the spread that
    noise of a power law shows there. All of it is linear in the log spectrum: one matrix does it, alike for target and
    prediction, and no statistic of a corpus is needed.

    Bands without a component of their own are left out (delta at 4 Hz between components), and so are all where the
    line leaves nothing to compare: with fewer than three components between the edges.
    """
    hertz_F = torch.arange(patch // 2 + 1, dtype=torch.float64) * sfreq / patch
    edges = torch.tensor(BANDS[modality], dtype=torch.float64)
    band_F = torch.bucketize(hertz_F, edges, right=True) - 1
    used = torch.nonzero((band_F >= 0) & (band_F < len(edges) - 1))[:, 0]
    if len(used) < 3:
        return torch.zeros(0, len(hertz_F), dtype=torch.float64)
    line = torch.stack([torch.ones(len(used), dtype=torch.float64), hertz_F[used].log()], 1)
    residual = torch.eye(len(used), dtype=torch.float64) - line @ torch.linalg.pinv(line)
    bands = band_F[used].unique()
    member_KU = (band_F[used] == bands[:, None]).double()
    weight_KU = member_KU / member_KU.sum(1, keepdim=True) @ residual
    spread_K = NOISE * weight_KU.norm(dim=1)
    kept = spread_K > 1e-9
    found = torch.zeros(int(kept.sum()), len(hertz_F), dtype=torch.float64)
    found[:, used] = weight_KU[kept] / spread_K[kept, None]
    return found


def band_power_loss(predicted_BHF: Tensor, target_BHF: Tensor, full_BH: Tensor, matrix_KF: Tensor) -> Tensor:
    """Smooth L1 between band powers of predicted and true log spectra, a mean over bands summed over whole patches."""
    if not len(matrix_KF):
        return predicted_BHF.sum() * 0.0
    matrix_KF = matrix_KF.to(target_BHF)
    predicted_BHK = predicted_BHF.to(target_BHF) @ matrix_KF.T
    return patch_loss(predicted_BHK, target_BHF @ matrix_KF.T, full_BH)


def band_power(of: Comparison) -> Tensor:
    """Band power free of the 1/f slope (docs/decisions/0080), of the windows of one sampling rate after the other."""
    batch, patch = of.masked.batch, of.target_BHS.shape[-1]
    predicted_BHF, target_BHF = of.outputs["log_spectrum"], spectra(of.masked, of.target_BHS, of.config)
    full_BH = of.sample_mask_BHS.all(-1)
    total = predicted_BHF.new_zeros(())
    for interval in batch.interval_B.unique().tolist():
        rows = batch.interval_B == interval
        matrix_KF = band_matrix(patch, round(1 / interval, 4), batch.modality)
        total = total + band_power_loss(predicted_BHF[rows], target_BHF[rows], full_BH[rows], matrix_KF)
    return total


def connectivity_targets(tokens: Tokens, mean_1PCC: Tensor | None = None) -> Tensor:
    """Correlation profiles (B, N, D) of all tokens in the clean window, of unit mean square.

    Those of `mean_1PCC`, the correlations that windows share (`MaskedBatch`), are taken off first.
    """
    identity_BND = tokens.identity_BND.detach()
    with torch.autocast(identity_BND.device.type, enabled=False):  # differences are small beside what is taken off
        profile_BND = connectivity_profile(
            tokens.patch_BNS, identity_BND, tokens.mask_BN, tokens.n_channels, tokens.valid_BNS
        )
        if mean_1PCC is not None:
            dtype, grid = profile_BND.dtype, (tokens.n_channels, -1)
            seen_BPC1 = tokens.mask_BN.unflatten(1, grid).transpose(1, 2).unsqueeze(-1).to(dtype)
            identity_BPCD = identity_BND.to(dtype).unflatten(1, grid).transpose(1, 2)
            count_BP11 = seen_BPC1.sum(2, keepdim=True).clamp(min=1)
            phi_BPCD = identity_BPCD - (identity_BPCD * seen_BPC1).sum(2, keepdim=True) / count_BP11
            shared_BPCD = mean_1PCC.to(dtype) @ (phi_BPCD * seen_BPC1 / count_BP11.sqrt())
            shared_BPCD = shared_BPCD.sum(1, keepdim=True) * seen_BPC1  # zero for tokens without a signal
            profile_BND = profile_BND - shared_BPCD.transpose(1, 2).flatten(1, 2)
    return profile_BND / profile_BND.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)


def connectivity(of: Comparison) -> Tensor:
    """The correlation profiles of the clean window, which an output of their own predicts (docs/decisions/0053)."""
    target_BHD = take_tokens(connectivity_targets(of.tokens, of.masked.mean_1PCC), of.masked.predicted_BH)
    return patch_loss(of.outputs["connectivity"], target_BHD, of.masked.predicted_mask_BH)
