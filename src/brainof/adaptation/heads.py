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
    """Standardised features -> body -> outputs in the units of the target.

    Parameters
    ----------
    pool : str
        Pooling of the latents (see `model.pool`) that gives the features.
    width, outputs : int
        F and K.
    """

    kind = ""
    mean_F: Tensor
    gain_F: Tensor
    centre_K: Tensor
    spread_K: Tensor

    def __init__(self, pool: str, width: int, outputs: int) -> None:
        super().__init__()
        self.pool, self.width, self.outputs = pool, width, outputs
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
        return {"kind": self.kind, "pool": self.pool, "width": self.width, "outputs": self.outputs}


class LinearHead(Head):
    """Dropout and a linear map."""

    kind = "linear"

    def __init__(self, pool: str, width: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__(pool, width, outputs)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs)
        # near the prior of the task at first
        nn.init.normal_(self.linear.weight, std=0.01 * width**-0.5)
        nn.init.zeros_(self.linear.bias)

    def body(self, z_BF: Tensor) -> Tensor:
        return self.linear(self.dropout(z_BF))

    def config(self) -> dict[str, Any]:
        return {**super().config(), "dropout": self.dropout.p}


class MLPHead(Head):
    """One hidden layer."""

    kind = "mlp"

    def __init__(self, pool: str, width: int, outputs: int, hidden: int = 128, dropout: float = 0.0) -> None:
        super().__init__(pool, width, outputs)
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, outputs)

    def body(self, z_BF: Tensor) -> Tensor:
        return self.linear(self.dropout(nn.functional.gelu(self.hidden(z_BF))))

    def config(self) -> dict[str, Any]:
        return {**super().config(), "hidden": self.hidden.out_features, "dropout": self.dropout.p}


class AttentiveHead(Head):
    """Learned queries that read the latents, then a linear map; the features are all latents (pool "concat").

    Parameters
    ----------
    latents : int
        L; the width is L * D.
    queries : int
        Learned queries.
    """

    kind = "attentive"

    def __init__(
        self, pool: str, width: int, outputs: int, latents: int, queries: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(pool, width, outputs)
        self.latents, dim = latents, width // latents
        self.queries_QD = nn.Parameter(torch.randn(queries, dim) * dim**-0.5)
        self.key, self.value = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(queries * dim, outputs)

    def body(self, z_BF: Tensor) -> Tensor:
        z_BLD = z_BF.unflatten(-1, (self.latents, -1))
        map_BQL = (self.queries_QD @ self.key(z_BLD).mT * self.queries_QD.shape[1] ** -0.5).softmax(-1)
        return self.linear(self.dropout((map_BQL @ self.value(z_BLD)).flatten(1)))

    def config(self) -> dict[str, Any]:
        own = {"latents": self.latents, "queries": len(self.queries_QD), "dropout": self.dropout.p}
        return {**super().config(), **own}


HEADS: dict[str, type[Head]] = {head.kind: head for head in (LinearHead, MLPHead, AttentiveHead)}


def make_head(config: dict[str, Any]) -> Head:
    """A head from `Head.config()`; CheckpointError when it is of no known kind."""
    values = dict(config)
    kind = values.pop("kind", None)
    if kind not in HEADS:
        raise CheckpointError(f"unknown head {kind!r}", field="head", fix=f"known: {', '.join(HEADS)}")
    return HEADS[kind](**values)
