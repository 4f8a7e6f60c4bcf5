"""Pooling: latents (B, L, D) -> one vector per window.

Legend: B windows, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ConfigError, did_you_mean
from .norm import unit


def mean(latents_BLD: Tensor) -> Tensor:
    """Mean over latents, (B, D)."""
    return latents_BLD.mean(1)


def mean_std(latents_BLD: Tensor) -> Tensor:
    """Mean and standard deviation over latents, (B, 2 D)."""
    return torch.cat([latents_BLD.mean(1), latents_BLD.std(1, correction=0)], -1)


def concat(latents_BLD: Tensor) -> Tensor:
    """All latents one after the other, (B, L * D)."""
    return latents_BLD.flatten(1)


def gram(latents_BLD: Tensor) -> Tensor:
    """Fisher z of the correlations between latents, (B, L (L - 1) / 2)."""
    direction = unit(latents_BLD - latents_BLD.mean(-1, keepdim=True))
    correlation = (direction @ direction.mT).clamp(-0.999, 0.999)
    size = correlation.shape[-1]
    row, column = torch.triu_indices(size, size, 1, device=latents_BLD.device)
    return torch.atanh(correlation[:, row, column])


def cov(latents_BLD: Tensor) -> Tensor:
    """Covariance of the D features over latents, upper triangle with the diagonal, (B, D (D + 1) / 2)."""
    centred = latents_BLD - latents_BLD.mean(1, keepdim=True)
    covariance = centred.mT @ centred / centred.shape[1]
    size = covariance.shape[-1]
    row, column = torch.triu_indices(size, size, device=latents_BLD.device)
    return covariance[:, row, column]


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": mean,
    "mean_std": mean_std,
    "concat": concat,
    "gram": gram,
    "cov": cov,
}


def pool(latents_BLD: Tensor, kind: str) -> Tensor:
    """Pool latents with one of POOLS; at least float32."""
    if kind not in POOLS:
        raise ConfigError(f"unknown pooling {kind!r}", field="pool", fix=did_you_mean(kind, POOLS))
    return POOLS[kind](latents_BLD if latents_BLD.dtype == torch.float64 else latents_BLD.float())
