"""Latents of the visible patches predict those of the whole window (docs/decisions/0080).

What is hidden must be told from what is seen, but in latents instead of samples. The target gets no gradient. What
keeps all windows from one and the same latents is the variance-covariance regularisation of VICReg (arXiv:2105.04906),
with its weights 25 : 25 : 1, beside or in place of a teacher (`objective.teacher`).

Shape suffixes: B windows, L latents, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .comparison import Comparison, Term, at_least_float32

VARIANCE, COVARIANCE = 1.0, 0.04


def prediction_error(latents_BLD: Tensor, whole_BLD: Tensor) -> Tensor:
    """Mean square of the difference, for each window."""
    return (latents_BLD - whole_BLD).square().mean((1, 2))


def variance_covariance(latents_BLD: Tensor) -> tuple[Tensor, Tensor]:
    """VICReg's two regularisers over windows, each latent about its own mean; 0 of a single window.

    By how much standard deviations lie below 1, a mean over latents and dimensions; squares of the covariances between
    dimensions, pooled over latents, summed and divided by D.
    """
    B, L, D = latents_BLD.shape
    if B < 2:
        return latents_BLD.new_zeros(()), latents_BLD.new_zeros(())
    centred_BLD = latents_BLD - latents_BLD.mean(0)
    spread_LD = (centred_BLD.square().sum(0) / (B - 1) + 1e-4).sqrt()
    rows = centred_BLD.flatten(0, 1)
    covariance_DD = rows.T @ rows / ((B - 1) * L)
    off_diagonal = covariance_DD.square().sum() - covariance_DD.diagonal().square().sum()
    return F.relu(1 - spread_LD).mean(), off_diagonal / D


def latent_loss(latents_BLD: Tensor, whole_BLD: Tensor, n_predicted_B: Tensor) -> Tensor:
    """Each window's error times its predicted patches; regularisers are of the windows at hand, times all of them."""
    dtype = at_least_float32(latents_BLD)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        latents_BLD, whole_BLD = latents_BLD.to(dtype), whole_BLD.to(dtype).detach()
        variance, covariance = variance_covariance(latents_BLD)
        error = (prediction_error(latents_BLD, whole_BLD) * n_predicted_B).sum()
        return error + (VARIANCE * variance + COVARIANCE * covariance) * n_predicted_B.sum()


def _loss(of: Comparison) -> Tensor:
    assert of.latents_BLD is not None
    assert of.whole_BLD is not None
    return latent_loss(of.latents_BLD, of.whole_BLD, of.masked.predicted_mask_BH.sum(1))


TERM = Term(_loss, None, whole=True)
