"""The gated feed-forward used by dense blocks, shared experts and cross-attention blocks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .norm import init_linear


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of the two halves of the last axis."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x), without biases; `residual_gain` is a factor on the starting weights of `down`."""

    def __init__(self, dim: int, hidden: int, residual_gain: float = 1.0) -> None:
        super().__init__()
        self.residual_gain = residual_gain
        self.gate_up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        init_linear(self.gate_up)
        init_linear(self.down, self.residual_gain)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.down(swiglu(self.gate_up(x_BND)))
