"""Heads: pooled latents -> outputs. A head standardises what it reads, so that one learning rate serves any backbone.

Legend: B examples, F pooled features, L latents, D width, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError


class Head(nn.Module):
    """Standardised features (B, F) of a pooling -> body -> outputs (B, K) in the units of the target."""

    kind = ""
    mean_F: Tensor
    gain_F: Tensor
    centre_K: Tensor
    spread_K: Tensor

    def __init__(self, pool: str, width: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.pool, self.width, self.outputs, self.options = pool, width, outputs, options
        self.register_buffer("mean_F", torch.zeros(width))
        self.register_buffer("gain_F", torch.ones(width))
        self.register_buffer("centre_K", torch.zeros(outputs))
        self.register_buffer("spread_K", torch.ones(outputs))

    def standardise_by(self, features_NF: np.ndarray) -> None:
        """Set mean and gain from training features; a constant feature is left out."""
        mean, spread = features_NF.mean(axis=0, dtype=np.float64), features_NF.std(axis=0, dtype=np.float64)
        gain = np.where(spread > 1e-6 * np.abs(mean) + 1e-12, 1 / np.maximum(spread, 1e-12), 0.0)
        self.mean_F.copy_(torch.from_numpy(mean))
        self.gain_F.copy_(torch.from_numpy(gain))

    def body(self, z_BF: Tensor) -> Tensor:
        """Standardised features -> standardised outputs."""
        raise NotImplementedError

    def forward(self, x_BF: Tensor) -> Tensor:
        z_BF = (x_BF.to(self.mean_F.dtype) - self.mean_F) * self.gain_F
        return self.body(z_BF) * self.spread_K + self.centre_K

    def config(self) -> dict[str, Any]:
        """Plain values that `make_head` accepts."""
        return {"kind": self.kind, "pool": self.pool, "width": self.width, "outputs": self.outputs, **self.options}


class LinearHead(Head):
    """Dropout and a linear map."""

    kind = "linear"

    def __init__(self, pool: str, width: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__(pool, width, outputs, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs)
        # near the prior of the task at first
        nn.init.normal_(self.linear.weight, std=0.01 * width**-0.5)
        nn.init.zeros_(self.linear.bias)

    def body(self, z_BF: Tensor) -> Tensor:
        return self.linear(self.dropout(z_BF))


class MLPHead(Head):
    """One hidden layer."""

    kind = "mlp"

    def __init__(self, pool: str, width: int, outputs: int, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__(pool, width, outputs, hidden=hidden, dropout=dropout)
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, outputs)

    def body(self, z_BF: Tensor) -> Tensor:
        return self.linear(self.dropout(nn.functional.gelu(self.hidden(z_BF))))


class AttentiveHead(Head):
    """Learned queries that read the L latents, then a linear map; features are all latents (pool "concat")."""

    kind = "attentive"

    def __init__(
        self, pool: str, width: int, outputs: int, latents: int, queries: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(pool, width, outputs, latents=latents, queries=queries, dropout=dropout)
        self.latents, dim = latents, width // latents
        self.queries_QD = nn.Parameter(torch.randn(queries, dim) * dim**-0.5)
        self.key, self.value = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(queries * dim, outputs)

    def body(self, z_BF: Tensor) -> Tensor:
        z_BLD = z_BF.unflatten(-1, (self.latents, -1))
        map_BQL = (self.queries_QD @ self.key(z_BLD).mT * self.queries_QD.shape[1] ** -0.5).softmax(-1)
        return self.linear(self.dropout((map_BQL @ self.value(z_BLD)).flatten(1)))


HEADS: dict[str, type[Head]] = {head.kind: head for head in (LinearHead, MLPHead, AttentiveHead)}


def make_head(config: dict[str, Any]) -> Head:
    """A head from `Head.config()`; CheckpointError when it is of no known kind."""
    kind = config.get("kind")
    if kind not in HEADS:
        raise CheckpointError(f"unknown head {kind!r}", field="head", fix=f"known: {', '.join(HEADS)}")
    return HEADS[kind](**{name: value for name, value in config.items() if name != "kind"})
