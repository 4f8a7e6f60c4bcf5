"""Pooling: latents (B, L, D) -> one vector per window, and the head of a task downstream on it.

Legend: B windows, L latents, D width, F pooled features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ContractError, did_you_mean
from .layers import RMSNorm, unit, wide


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


#: Ways to pool: features of the mean over latents, of mean and standard deviation (2 D), of all latents (L * D), ...
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda latents_BLD: latents_BLD.mean(1),
    "mean_std": lambda latents_BLD: torch.cat([latents_BLD.mean(1), latents_BLD.std(1, correction=0)], -1),
    "concat": lambda latents_BLD: latents_BLD.flatten(1),
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


class Head(nn.Module):
    """Normalisation of pooled latents (of a pooling as in `BrainOF.pool`) and a linear map to classes or targets."""

    def __init__(self, width: int, outputs: int, pool: str = "auto") -> None:
        super().__init__()
        if outputs < 1:
            raise ConfigError(f"{outputs} outputs", field="outputs", fix="give the number of classes or targets")
        self.pool = pool
        self.norm = RMSNorm(width)
        self.linear = nn.Linear(width, outputs)
        self.init_weights()

    def init_weights(self) -> None:
        # small, so that the first predictions are near the prior of the task
        nn.init.normal_(self.linear.weight, std=0.1 * self.linear.in_features**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled_BF: Tensor) -> Tensor:
        return self.linear(self.norm(pooled_BF))
