"""Pooling of latents and the linear heads: one per task downstream, one per output of the decoder.

Legend: B windows, L latents, Q decoded positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..errors import ConfigError, ContractError, did_you_mean
from .norm import RMSNorm, unit

#: Where predictions of the log spectrum start; its floor is at -3
LOG_SPECTRUM_START = -2.0


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
    """Refuse latents that are not finite.

    Latents with a graph are those of the model itself a moment ago, and training refuses a loss that is not finite:
    they are passed without the transfer to the host that a look at them costs.

    Raises
    ------
    ContractError
        Names the window.
    """
    if latents_BLD.requires_grad or latents_BLD.is_meta or torch.compiler.is_compiling():
        return
    finite_B = torch.isfinite(latents_BLD).flatten(1).all(1)
    if not finite_B.all():
        window = int((~finite_B).nonzero()[0])
        raise ContractError(f"not finite in window {window}", field=field, fix="check the weights and the input")


def pool(latents_BLD: Tensor, kind: str = "mean_std") -> Tensor:
    """Pool latents with one of POOLS; at least float32.

    Raises
    ------
    ConfigError
        Unknown pooling.
    ContractError
        No latents, or latents that are not finite.
    """
    if kind not in POOLS:
        raise ConfigError(f"unknown pooling {kind!r}", field="pool", fix=did_you_mean(kind, POOLS))
    if not latents_BLD.shape[1]:
        raise ContractError("there are none to pool", field="latents")
    require_finite(latents_BLD)
    return POOLS[kind](latents_BLD if latents_BLD.dtype == torch.float64 else latents_BLD.float())


def pooled_width(latents: int, dim: int, kind: str = "mean_std") -> int:
    """Features that `pool` gives for L latents of width D."""
    with torch.device("meta"):
        return pool(torch.empty(1, latents, dim), kind).shape[-1]


class Head(nn.Module):
    """Pooling, normalisation and a linear map to classes or regression targets.

    Parameters
    ----------
    latents, dim : int
        L and D of the backbone.
    outputs : int
        Classes, or regression targets.
    pool : str
        One of POOLS.
    """

    def __init__(self, latents: int, dim: int, outputs: int, pool: str = "mean_std") -> None:
        super().__init__()
        if outputs < 1:
            raise ConfigError(f"{outputs} outputs", field="outputs", fix="give the number of classes or targets")
        self.pool = pool
        width = pooled_width(latents, dim, pool)
        self.norm = RMSNorm(width)
        self.linear = nn.Linear(width, outputs)
        self.init_weights()

    def init_weights(self) -> None:
        # small, so that the first predictions are near the prior of the task
        nn.init.normal_(self.linear.weight, std=0.1 * self.linear.in_features**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, latents_BLD: Tensor) -> Tensor:
        return self.linear(self.norm(pool(latents_BLD, self.pool)))


class PatchHeads(nn.Module):
    """Normalisation and one linear map per output of the decoder.

    Parameters
    ----------
    dim : int
        Width D.
    widths : dict of str to int
        Output name -> values per patch.
    """

    def __init__(self, dim: int, widths: dict[str, int]) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.names = tuple(widths)
        self.linears = nn.ModuleList(nn.Linear(dim, width) for width in widths.values())
        self.init_weights()

    def init_weights(self) -> None:
        for name, linear in zip(self.names, self.linears, strict=True):
            assert isinstance(linear, nn.Linear)
            nn.init.normal_(linear.weight, std=(3 * linear.in_features) ** -0.5)
            # amplitudes above the recorded band are at the floor: without it the first steps are spent on the offset
            nn.init.constant_(linear.bias, LOG_SPECTRUM_START if name == "log_spectrum" else 0.0)

    def forward(self, x_BQD: Tensor) -> dict[str, Tensor]:
        """Output name -> (B, Q, values); at least float32."""
        x_BQD = self.norm(x_BQD)
        values = [linear(x_BQD) for linear in self.linears]
        return {n: v if v.dtype == torch.float64 else v.float() for n, v in zip(self.names, values, strict=True)}
