"""Root-mean-square normalisation in the dtype of the input, in few passes over memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _FewPasses(torch.autograd.Function):
    """RMS normalisation whose gradient is written by hand: half the memory traffic of the composed form on CPU."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = _inverse(x, eps)
        ctx.save_for_backward(x, inverse, weight)
        return (x * inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, inverse, weight = ctx.saved_tensors
        rows = (grad * x).flatten(0, -2)
        along = (rows @ weight).view_as(inverse).mul_(inverse.square()).div_(-x.shape[-1])
        return torch.addcmul(grad * weight, x, along).mul_(inverse), rows.t() @ inverse.flatten(), None


def _inverse(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean(x^2) + eps), in one pass over x."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, in the dtype of x.

    Weights are cast to the dtype of x: unequal dtypes, as under autocast, leave the fused path.
    """
    weight = weight.to(x.dtype)
    full = x.dtype in (torch.float32, torch.float64)
    if x.device.type == "cpu" and full and not torch.compiler.is_compiling():
        if torch.is_grad_enabled():
            return _FewPasses.apply(x, weight, eps)
        return (x * _inverse(x, eps)).mul_(weight)
    return F.rms_norm(x, weight.shape, weight, eps)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last axis with a learned scale.

    Parameters
    ----------
    width : int
        Size of the last axis.
    eps : float
        Added to the mean square.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def unit(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Vectors along the last axis scaled to length one, computed in at least float32, in the dtype of the input."""
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + eps)).to(x.dtype)
