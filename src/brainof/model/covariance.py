"""How the scalp moves together: the logarithm of the covariance of virtual sensors, for EEG of any montage.

Log-Euclidean covariance is what tells states of EEG apart beside band power (Barachant et al. 2012), but it belongs to
one set of electrodes. Here the signal is first averaged at fixed places on the head, with weights that fall with the
distance of the electrodes that are seen there and then: hidden, bad and missing ones need no special case. The mean
over places is taken off, so that the reference of the recording does not matter (docs/decisions/0114). Nothing is
learned.

Legend: B windows (1 where the batch shares sensors), C channels, P patches per channel, N = C * P tokens
(channel-major), S samples per patch, K virtual sensors, D width; P points of the quadrature in `log_positive`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..signals import Sensors
from .layers import wide
from .tokens import Tokens

#: Radius of the head on which virtual sensors lie, how far below its centre they reach, and the standard deviation of
#: the weights (metres)
RADIUS, LOWEST, SPREAD = 0.1, -0.03, 0.045
#: Mean variances added to the variance of each virtual sensor: fewer electrodes than these span fewer dimensions
SHRINKAGE = 0.01
#: Quadrature of the logarithm: off by 0.04 for an eigenvalue of 0.01, by less than 0.005 from 0.02 to 32
NODES, AREAS = np.polynomial.legendre.leggauss(12)
POINTS, WEIGHTS = ((NODES + 1) / 2).tolist(), (AREAS / 2).tolist()


def places(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Virtual sensors spread evenly over the top of a sphere, (count, 3), metres from the centre of the brain."""
    number = torch.arange(count, dtype=torch.float32, device=device) + 0.5
    z = RADIUS - (RADIUS - LOWEST) * number / count
    radius, turn = (RADIUS**2 - z.square()).sqrt(), math.pi * (1 + 5**0.5) * number
    return torch.stack([radius * turn.cos(), radius * turn.sin(), z], -1)


def spatial_weights(sensors: Sensors, count: int) -> Tensor:
    """Weights (B, K, C) of electrodes at the virtual sensors, 1 for the nearest; zero without a position."""
    at_K3 = places(count, sensors.position_BC3.device)
    located_B1C = sensors.located_BC[:, None]
    offset_BKC3 = at_K3[:, None] - sensors.position_BC3[:, None].float()
    fall_BKC = -offset_BKC3.square().sum(-1) / (2 * SPREAD**2)
    nearest_BK1 = torch.where(located_B1C, fall_BKC, -math.inf).amax(-1, keepdim=True)
    return torch.where(located_B1C, (fall_BKC - torch.where(nearest_BK1 > -math.inf, nearest_BK1, 0)).exp(), 0)


def log_positive(matrix_BKK: Tensor) -> Tensor:
    """Logarithm of positive definite matrices A, by the integral of (1 + t (A - 1))^-1 (A - 1) over t from 0 to 1.

    Gauss-Legendre points make this the Pade approximant (Dieci, Morini and Papini 1996). Unlike a logarithm by
    eigenvectors it has a gradient where eigenvalues are equal, and no step waits for it on a device.
    """
    one_KK = torch.eye(matrix_BKK.shape[-1], dtype=matrix_BKK.dtype, device=matrix_BKK.device)
    less_BKK = matrix_BKK - one_KK
    scaled_PBKK = torch.stack([(one_KK + t * less_BKK) / w for t, w in zip(POINTS, WEIGHTS, strict=True)])
    return torch.linalg.inv_ex(scaled_PBKK).inverse.sum(0) @ less_BKK


class LogCovariance(nn.Module):
    """Latents (B, K, D) of a window: the rows of the log covariance of K virtual sensors, in a code of width D."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.linear = nn.Linear(count, dim, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.orthogonal_(self.linear.weight)

    def forward(self, tokens: Tokens, seen_BN: Tensor) -> Tensor:
        """Of the seen patches of tokens with `weight_BKC`, the `spatial_weights`."""
        assert tokens.weight_BKC is not None
        patch_BNS = wide(tokens.patch_BNS)
        with torch.autocast(patch_BNS.device.type, enabled=False):
            rows_BKK = log_covariance(patch_BNS, tokens.weight_BKC.to(patch_BNS.dtype), seen_BN, tokens.valid_BNS)
            return self.linear(rows_BKK.to(self.linear.weight.dtype))


def log_covariance(patch_BNS: Tensor, weight_BKC: Tensor, seen_BN: Tensor, valid_BNS: Tensor | None = None) -> Tensor:
    """Log covariance (B, K, K) of the virtual sensors over the seen patches."""
    channels = weight_BKC.shape[-1]
    patch_BCPS = patch_BNS.unflatten(1, (channels, -1))
    seen_BCP = seen_BN.unflatten(1, (channels, -1)).to(patch_BNS.dtype)
    weight_BKC = weight_BKC.expand(len(seen_BCP), -1, -1)
    total_BKP1 = torch.einsum("bkc,bcp->bkp", weight_BKC, seen_BCP)[..., None]
    read_BKPS = torch.einsum("bkc,bcps->bkps", weight_BKC, patch_BCPS * seen_BCP[..., None])
    read_BKPS = read_BKPS / total_BKP1.clamp(min=1e-12)
    # a patch counts where an electrode is seen at all, and in it the samples that are signal
    counts_B1PS = (total_BKP1.amax(1, keepdim=True) > 1e-12).to(read_BKPS.dtype).expand(-1, -1, -1, patch_BNS.shape[-1])
    if valid_BNS is not None:
        counts_B1PS = counts_B1PS * valid_BNS.unflatten(1, (channels, -1)).any(1, keepdim=True)
    read_BKT = (read_BKPS - read_BKPS.mean(1, keepdim=True)).flatten(2)
    counts_B1T = counts_B1PS.flatten(2)
    samples_B11 = counts_B1T.sum(-1, keepdim=True).clamp(min=1)
    read_BKT = (read_BKT - (read_BKT * counts_B1T).sum(-1, keepdim=True) / samples_B11) * counts_B1T
    covariance_BKK = read_BKT @ read_BKT.mT / samples_B11
    level_B11 = covariance_BKK.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-6)[:, None, None]
    one_KK = torch.eye(covariance_BKK.shape[-1], dtype=covariance_BKK.dtype, device=covariance_BKK.device)
    return log_positive(covariance_BKK / level_B11 + SHRINKAGE * one_KK) + level_B11.log() * one_KK
