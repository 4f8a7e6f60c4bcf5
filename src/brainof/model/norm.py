"""Root-mean-square normalisation in the dtype of the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels.norm import FastRMSNorm, use_fast


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, in the dtype of x.

    Weights are cast to the dtype of x: unequal dtypes, as under autocast, leave the fused path.
    """
    weight = weight.to(x.dtype)
    if use_fast(x):
        return FastRMSNorm.apply(x, weight, eps)
    return F.rms_norm(x, weight.shape, weight, eps)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last axis with a learned scale; `eps` is added to the mean square."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


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
