"""The gated feed-forward used by dense blocks, shared experts and cross-attention blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _FewPasses(torch.autograd.Function):
    """SwiGLU that keeps its input and silu(gate), its slowest pass; the gradient's halves go into one tensor."""

    @staticmethod
    def forward(ctx, gate_up):
        gate, up = gate_up.chunk(2, -1)
        silu = F.silu(gate)
        ctx.save_for_backward(gate_up, silu)
        return silu * up

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        gate_up, silu = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        out = torch.empty_like(gate_up)
        out_gate, out_up = out.chunk(2, -1)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=out_gate)
        torch.mul(grad, silu, out=out_up)
        return out


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of the two halves of the last axis."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _FewPasses.apply(gate_up)
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
