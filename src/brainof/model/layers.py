"""Small layers that all parts are made of: normalisation by the root mean square, the gated feed-forward, a scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels.norm import FastRMSNorm, use_fast


def wide(x: Tensor) -> Tensor:
    """In at least float32."""
    return x if x.dtype == torch.float64 else x.float()


def unit(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Vectors along the last axis scaled to length one, computed in at least float32, in the dtype of the input."""
    return (wide(x) * torch.rsqrt(wide(x).square().sum(-1, keepdim=True) + eps)).to(x.dtype)


def init_linear(linear: nn.Linear, gain: float = 1.0) -> None:
    """Draw the weights with standard deviation `gain` / sqrt(3 inputs), and zero the bias."""
    nn.init.normal_(linear.weight, std=gain * (3 * linear.in_features) ** -0.5)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) over the last axis with a learned scale, in the dtype of x."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)  # unequal dtypes, as under autocast, would leave the fused path
        if use_fast(x):
            return FastRMSNorm.apply(x, weight, self.eps)
        return F.rms_norm(x, weight.shape, weight, self.eps)


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


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of the two halves of the last axis."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.scale_D = nn.Parameter(torch.empty(dim))
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.constant_(self.scale_D, self.start)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_D
