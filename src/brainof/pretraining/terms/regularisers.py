"""What keeps the latents of all windows from one and the same point, by name (`objective.regulariser`).

Shape suffixes: B windows, L latents, D width, K directions, P points.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..masking import MaskedBatch

#: VICReg's weights (arXiv:2105.04906), 25 : 25 : 1 with the error
VARIANCE, COVARIANCE = 1.0, 0.04
#: Of SIGReg
DIRECTIONS, POINTS, REACH = 64, 17, 5.0


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


def directions(width: int, seed: int) -> Tensor:
    """Unit vectors (D, K), float64."""
    drawn_DK = torch.randn(width, DIRECTIONS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn_DK / drawn_DK.norm(dim=0)


def sigreg(latents_BLD: Tensor, seed: int = 0) -> Tensor:
    """SIGReg (arXiv:2511.08544): latents over windows become an isotropic Gaussian; 0 of a single window.

    Along a direction u the distance between the empirical characteristic function of the projected latents and that of
    a standard normal distribution is, as Epps & Pulley (1983) weigh it,

        integral of |mean_n exp(i t u.z_n) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt,

    here by the trapezoid rule on POINTS points between -REACH and REACH, averaged over directions and latents.
    """
    if len(latents_BLD) < 2:
        return latents_BLD.new_zeros(())
    along_BLK = latents_BLD @ directions(latents_BLD.shape[-1], seed).to(latents_BLD)
    points_P = torch.linspace(-REACH, REACH, POINTS, dtype=latents_BLD.dtype, device=latents_BLD.device)
    normal_P = torch.exp(-points_P.square() / 2)
    angle_BLKP = along_BLK[..., None] * points_P
    real_LKP, imaginary_LKP = angle_BLKP.cos().mean(0), angle_BLKP.sin().mean(0)
    distance_LKP = (real_LKP - normal_P).square() + imaginary_LKP.square()
    return torch.trapezoid(distance_LKP * normal_P, points_P, dim=-1).mean()


#: Name -> (latents (B, L, D), seed of what is drawn) -> loss
REGULARISERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "vicreg": vicreg,
    "sigreg": sigreg,
    "none": lambda latents_BLD, seed: latents_BLD.new_zeros(()),
}


def seed_of(masked: MaskedBatch) -> int:
    """A seed that differs from batch to batch and depends on nothing but its windows."""
    return sum(masked.batch.rows) % 2**31
