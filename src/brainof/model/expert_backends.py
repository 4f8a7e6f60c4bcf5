"""How routed experts are computed: three functions of one signature, equal to rounding.

Each maps tokens x (T, D), chosen experts (T, K) and their gates (T, K), with stacked weights, to
sum over k of gates[t, k] * swiglu(x[t] gate_up[e]) down[e], e = ids[t, k].

Legend: T tokens, K experts per token, R rows (token-expert pairs and fillers) sorted by expert, E experts, D width,
F hidden width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import ConfigError
from .ffn import swiglu

#: On CPU, bfloat16 products are compiled for each number of rows (0.5 ms each); loads change with every batch, so rows
#: are filled up to multiples of this
FILL_TO = 32


class _TakeRows(torch.autograd.Function):
    """x[order // copies]: each row taken `copies` times, in a permuted order.

    Its gradient is a gather through the inverse permutation and a sum, which is deterministic everywhere; the
    gradient of `index_select` adds rows in an order that varies.
    """

    @staticmethod
    def forward(ctx, x, order, inverse, copies):
        ctx.save_for_backward(inverse)
        ctx.copies = copies
        return x.index_select(0, order if copies == 1 else order // copies)

    @staticmethod
    def backward(ctx, grad):
        (inverse,) = ctx.saved_tensors
        rows = grad.index_select(0, inverse)
        return (rows if ctx.copies == 1 else rows.unflatten(0, (-1, ctx.copies)).sum(1)), None, None, None


def grouped(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """Sort, two grouped products, gather back: few launches, no transfer to the host, compiles in bfloat16."""
    if x_TD.dtype == torch.float64:
        raise ConfigError("grouped products do not exist in float64", field="expert_backend", fix="use 'loop'")
    sorted_R, order_R = ids_TK.flatten().sort(stable=True)
    inverse_R = torch.empty_like(order_R).scatter_(0, order_R, torch.arange(order_R.shape[0], device=order_R.device))
    experts_E = torch.arange(gate_up_ED2F.shape[0], device=sorted_R.device)
    ends_E = torch.searchsorted(sorted_R, experts_E, right=True, out_int32=True)
    rows_RD = _TakeRows.apply(x_TD, order_R, inverse_R, ids_TK.shape[1])
    hidden_RF = swiglu(F.grouped_mm(rows_RD, gate_up_ED2F, offs=ends_E))
    rows_RD = _TakeRows.apply(F.grouped_mm(hidden_RF, down_EFD, offs=ends_E), inverse_R, order_R, 1)
    return (rows_RD.view(*ids_TK.shape, -1) * gates_TK[..., None].to(x_TD.dtype)).sum(1)


class _Loop(torch.autograd.Function):
    """Rows sorted by expert, and one product per expert written where its result belongs.

    All that is not a product is done on the rows of all experts at once. Each weight gradient is written in place:
    indexing `w[e]` under autograd would fill a whole (E, D, 2F) tensor per expert. Rows return to their tokens by a
    gather that adds while it reads, in a fixed order.
    """

    @staticmethod
    def forward(ctx, x_TD, gates_TK, token_R, place_TK, sizes, gate_up_ED2F, down_EFD):
        hidden_R2F = _products(x_TD.index_select(0, token_R), gate_up_ED2F, sizes)
        gate, up = hidden_R2F.chunk(2, -1)
        out_RD = _products(F.silu(gate).mul_(up), down_EFD, sizes)
        ctx.save_for_backward(x_TD, gates_TK, token_R, place_TK, gate_up_ED2F, down_EFD, hidden_R2F, out_RD)
        ctx.sizes = sizes
        return F.embedding_bag(place_TK, out_RD, mode="sum", per_sample_weights=gates_TK)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_TD):
        x_TD, gates_TK, token_R, place_TK, gate_up_ED2F, down_EFD, hidden_R2F, out_RD = ctx.saved_tensors
        grad_RD = grad_TD.index_select(0, token_R)
        grad_gates_TK = out_RD.mul(grad_RD).sum(-1)[place_TK]
        # filling rows have no gate, so that they add nothing to any gradient
        gates_R = gates_TK.new_zeros(len(token_R)).scatter_(0, place_TK.flatten(), gates_TK.flatten())
        grad_RD.mul_(gates_R[:, None])
        gate, up = hidden_R2F.chunk(2, -1)
        silu = F.silu(gate)
        grad_down = _weight_gradient(silu * up, grad_RD, ctx.sizes)
        grad_hidden = _products(grad_RD, down_EFD.mT, ctx.sizes)
        grad_R2F = torch.empty_like(hidden_R2F)
        grad_gate, grad_up = grad_R2F.chunk(2, -1)
        torch.mul(grad_hidden, silu, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad_hidden.mul_(up), gate, grad_input=grad_gate)
        grad_gate_up = _weight_gradient(x_TD.index_select(0, token_R), grad_R2F, ctx.sizes)
        grad_x = F.embedding_bag(place_TK, _products(grad_R2F, gate_up_ED2F.mT, ctx.sizes), mode="sum")
        return grad_x, grad_gates_TK, None, None, None, grad_gate_up, grad_down


def _products(rows_RA: Tensor, weight_EAB: Tensor, sizes: list[int]) -> Tensor:
    """Each row times the matrix of its expert, (R, B)."""
    out_RB = rows_RA.new_empty(len(rows_RA), weight_EAB.shape[2])
    pieces = zip(rows_RA.split(sizes), weight_EAB.unbind(0), out_RB.split(sizes), sizes, strict=True)
    for rows, weight, out, size in pieces:
        if size:
            torch.mm(rows, weight, out=out)
    return out_RB


def _weight_gradient(rows_RA: Tensor, grad_RB: Tensor, sizes: list[int]) -> Tensor:
    """Sum of outer products of the rows of each expert, (E, A, B)."""
    out_EAB = rows_RA.new_empty(len(sizes), rows_RA.shape[1], grad_RB.shape[1])
    for rows, grad, out, size in zip(rows_RA.split(sizes), grad_RB.split(sizes), out_EAB.unbind(0), sizes, strict=True):
        if size:
            torch.mm(rows.t(), grad, out=out)
        else:
            out.zero_()
    return out_EAB


def multiple_for(x_TD: Tensor) -> int:
    """What the rows of each expert are filled up to."""
    return FILL_TO if x_TD.dtype == torch.bfloat16 and x_TD.device.type == "cpu" else 1


def loop(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """Expert after expert: every dtype, fastest on CPU; needs the loads on the host."""
    multiple = multiple_for(x_TD)
    sorted_R, order_R = ids_TK.flatten().sort(stable=True)
    size_E = torch.bincount(sorted_R, minlength=gate_up_ED2F.shape[0])
    filled_E = (size_E + (multiple - 1)) // multiple * multiple
    ahead_E = (filled_E - size_E).cumsum(0) - (filled_E - size_E)
    place_R = torch.arange(len(order_R), device=order_R.device) + ahead_E[sorted_R]
    place_TK = torch.empty_like(order_R).scatter_(0, order_R, place_R).view_as(ids_TK)
    sizes = filled_E.tolist()
    token_R = order_R.new_zeros(sum(sizes)).scatter_(0, place_R, order_R // ids_TK.shape[1])
    return _Loop.apply(x_TD, gates_TK.to(x_TD.dtype), token_R, place_TK, sizes, gate_up_ED2F, down_EFD)


def masked(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """Every expert on every token, with gates of zero where an expert was not chosen.

    It costs E / K times more and has no shape that depends on data: the form that `torch.export` accepts.
    """
    gates_TE = gates_TK.new_zeros(x_TD.shape[0], gate_up_ED2F.shape[0]).scatter(1, ids_TK, gates_TK)
    hidden_ETF = swiglu(torch.matmul(x_TD, gate_up_ED2F))
    return torch.matmul(hidden_ETF * gates_TE.t()[..., None].to(x_TD.dtype), down_EFD).sum(0)


BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "grouped": grouped,
    "loop": loop,
    "masked": masked,
}
