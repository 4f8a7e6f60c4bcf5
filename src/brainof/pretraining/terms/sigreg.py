"""SIGReg: latents over windows become an isotropic Gaussian, tested along random directions (arXiv:2511.08544).

Along a direction u the distance between the empirical characteristic function of the projected latents and that of a
standard normal distribution is, as Epps & Pulley (1983) weigh it,

    integral of |mean_n exp(i t u.z_n) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt,

here by the trapezoid rule on POINTS points between -REACH and REACH, averaged over directions and latents.

Shape suffixes: B windows, L latents, D width, K directions, P points.
"""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS, POINTS, REACH = 64, 17, 5.0


def directions(width: int, seed: int) -> Tensor:
    """Unit vectors (D, K), float64."""
    drawn_DK = torch.randn(width, DIRECTIONS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn_DK / drawn_DK.norm(dim=0)


def sigreg(latents_BLD: Tensor, seed: int = 0) -> Tensor:
    """The distance of each latent's distribution over windows from a standard normal one; 0 of a single window."""
    if len(latents_BLD) < 2:
        return latents_BLD.new_zeros(())
    along_BLK = latents_BLD @ directions(latents_BLD.shape[-1], seed).to(latents_BLD)
    points_P = torch.linspace(-REACH, REACH, POINTS, dtype=latents_BLD.dtype, device=latents_BLD.device)
    normal_P = torch.exp(-points_P.square() / 2)
    angle_BLKP = along_BLK[..., None] * points_P
    real_LKP, imaginary_LKP = angle_BLKP.cos().mean(0), angle_BLKP.sin().mean(0)
    distance_LKP = (real_LKP - normal_P).square() + imaginary_LKP.square()
    return torch.trapezoid(distance_LKP * normal_P, points_P, dim=-1).mean()
