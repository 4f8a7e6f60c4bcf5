"""What keeps the latents of all windows from one and the same point, by name (`objective.regulariser`).

Shape suffixes: B windows, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ..masking import MaskedBatch
from .sigreg import sigreg

#: VICReg's weights (arXiv:2105.04906), 25 : 25 : 1 with the error
VARIANCE, COVARIANCE = 1.0, 0.04


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


def vicreg(latents_BLD: Tensor, seed: int = 0) -> Tensor:
    """The weighted sum of `variance_covariance`."""
    variance, covariance = variance_covariance(latents_BLD)
    return VARIANCE * variance + COVARIANCE * covariance


#: Name -> (latents (B, L, D), seed of what is drawn) -> loss
REGULARISERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "vicreg": vicreg,
    "sigreg": sigreg,
    "none": lambda latents_BLD, seed: latents_BLD.new_zeros(()),
}


def seed_of(masked: MaskedBatch) -> int:
    """A seed that differs from batch to batch and depends on nothing but its windows."""
    return sum(masked.batch.rows) % 2**31
