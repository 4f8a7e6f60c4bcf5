"""Pooling: latents (B, L, D) -> one vector per window.

Legend: B windows, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ConfigError, ContractError, did_you_mean
from .norm import unit, wide


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


def require_finite(latents_BLD: Tensor, field: str = "latents") -> None:
    """Refuse latents that are not finite, by a ContractError with the window.

    Latents with a graph are those of the model itself a moment ago, and training refuses a loss that is not finite:
    they are passed without the transfer to the host that a look at them costs.
    """
    if latents_BLD.requires_grad or latents_BLD.is_meta or torch.compiler.is_compiling():
        return
    finite_B = torch.isfinite(latents_BLD).flatten(1).all(1)
    if not finite_B.all():
        window = int((~finite_B).nonzero()[0])
        raise ContractError(f"not finite in window {window}", field=field, fix="check the weights and the input")


def pool(latents_BLD: Tensor, kind: str) -> Tensor:
    """Pool latents with one of POOLS; at least float32.

    A ConfigError for an unknown pooling, a ContractError for no latents, or ones that are not finite.
    """
    if kind not in POOLS:
        raise ConfigError(f"unknown pooling {kind!r}", field="pool", fix=did_you_mean(kind, POOLS))
    if not latents_BLD.shape[1]:
        raise ContractError("there are none to pool", field="latents")
    require_finite(latents_BLD)
    return POOLS[kind](wide(latents_BLD))
