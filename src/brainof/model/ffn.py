"""The gated feed-forward used by dense blocks, shared experts and cross-attention blocks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of the two halves of the last axis."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x), without biases.

    Parameters
    ----------
    dim, hidden : int
        Width in and out, and hidden width.
    residual_gain : float
        Factor on the starting weights of the output map.
    """

    def __init__(self, dim: int, hidden: int, residual_gain: float = 1.0) -> None:
        super().__init__()
        self.residual_gain = residual_gain
        self.gate_up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.normal_(self.gate_up.weight, std=(3 * self.gate_up.in_features) ** -0.5)
        nn.init.normal_(self.down.weight, std=self.residual_gain * (3 * self.down.in_features) ** -0.5)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.down(swiglu(self.gate_up(x_BND)))
