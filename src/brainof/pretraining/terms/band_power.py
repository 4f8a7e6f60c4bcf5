"""Band power free of the 1/f slope, read off the output `log_spectrum` (docs/decisions/0080).

Log amplitudes less the line that fits them best over log frequency, averaged in bands, in units of the spread that
noise of a power law shows there. All of it is linear in the log spectrum: one matrix does it, alike for target and
prediction, and no statistic of a corpus is needed.

Shape suffixes: B windows, H predicted patches, F frequencies of a patch, K bands.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..views import BANDS
from .comparison import Comparison, Term, patch_loss
from .log_spectrum import spectra

#: Standard deviation of the log amplitude of one component of Gaussian noise
NOISE = math.pi / math.sqrt(24)


def band_matrix(patch: int, sfreq: float, modality: str) -> Tensor:
    """Log spectrum (F) -> standardised band powers (K), shape (K, F) in float64.

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


def _loss(of: Comparison) -> Tensor:
    """Window by window of one sampling rate: where bands lie in the spectrum depends on it."""
    batch, patch = of.masked.batch, of.target_BHS.shape[-1]
    predicted_BHF, target_BHF = of.outputs["log_spectrum"], spectra(of.masked, of.target_BHS, of.config)
    full_BH = of.sample_mask_BHS.all(-1)
    total = predicted_BHF.new_zeros(())
    for interval in batch.interval_B.unique().tolist():
        rows = batch.interval_B == interval
        matrix_KF = band_matrix(patch, round(1 / interval, 4), batch.modality)
        total = total + band_power_loss(predicted_BHF[rows], target_BHF[rows], full_BH[rows], matrix_KF)
    return total


TERM = Term(_loss, "log_spectrum")
