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

#: Where experts are computed at once in bfloat16: fillers cost at most so many multiply-adds per expert and product (as
#: long as the operators saved), and there are at most so many hidden values (more do not stay near the processor)
MOST_FILLERS = 1 << 22
MOST_AT_ONCE = 1 << 22


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
    """Expert after expert: take its tokens, compute, add to the output.

    Rows are never stored for all experts at once, and each weight gradient is written where it belongs: indexing
    `w[e]` under autograd would fill a whole (E, D, 2F) tensor per expert. A token meets an expert once, so every
    addition is of distinct rows (fillers add zeros) and the result does not depend on their order.
    """

    @staticmethod
    def forward(ctx, x_TD, gates_R, token_R, sizes, gate_up_ED2F, down_EFD):
        hidden_R2F = x_TD.new_empty(len(token_R), gate_up_ED2F.shape[-1])
        y_TD = torch.zeros_like(x_TD)
        for e, rows in _rows(sizes):
            block = torch.mm(x_TD.index_select(0, token_R[rows]), gate_up_ED2F[e], out=hidden_R2F[rows])
            gate, up = block.chunk(2, -1)
            hidden = F.silu(gate).mul_(up).mul_(gates_R[rows, None])
            y_TD.index_add_(0, token_R[rows], hidden @ down_EFD[e])
        ctx.save_for_backward(x_TD, gates_R, token_R, gate_up_ED2F, down_EFD, hidden_R2F)
        ctx.sizes = sizes
        return y_TD

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_TD):
        x_TD, gates_R, token_R, gate_up_ED2F, down_EFD, hidden_R2F = ctx.saved_tensors
        grad_x, grad_gates = torch.zeros_like(x_TD), torch.empty_like(gates_R)
        grad_gate_up, grad_down = torch.empty_like(gate_up_ED2F), torch.empty_like(down_EFD)
        for e in (e for e, size in enumerate(ctx.sizes) if not size):
            grad_gate_up[e].zero_()
            grad_down[e].zero_()
        for e, rows in _rows(ctx.sizes):
            tokens, weight = token_R[rows], gates_R[rows, None]
            grad, (gate, up) = grad_TD.index_select(0, tokens), hidden_R2F[rows].chunk(2, -1)
            silu = F.silu(gate)
            hidden, grad_hidden = silu * up, grad @ down_EFD[e].t()
            grad_gates[rows] = (grad_hidden * hidden).sum(-1)
            torch.mm(hidden.mul_(weight).t(), grad, out=grad_down[e])
            grad_hidden.mul_(weight)
            block = torch.empty_like(hidden_R2F[rows])
            grad_gate, grad_up = block.chunk(2, -1)
            torch.mul(grad_hidden, silu, out=grad_up)
            torch.ops.aten.silu_backward.grad_input(grad_hidden.mul_(up), gate, grad_input=grad_gate)
            torch.mm(x_TD.index_select(0, tokens).t(), block, out=grad_gate_up[e])
            grad_x.index_add_(0, tokens, block @ gate_up_ED2F[e].t())
        return grad_x, grad_gates, None, None, grad_gate_up, grad_down


class _AtOnce(torch.autograd.Function):
    """All experts in one batched product each, every expert with as many rows: few operators, more memory.

    A product of 8 x 300 rows of width 128 takes as long as its operators' overheads. Gates weigh the sum over a
    token's experts, which one operator gathers and adds; slots of fillers are never gathered.
    """

    @staticmethod
    def forward(ctx, x_TD, gates_TK, place_TK, token_R, gate_up_ED2F, down_EFD):
        rows_ECD = x_TD.index_select(0, token_R).unflatten(0, (len(down_EFD), -1))
        block_EC2F = torch.bmm(rows_ECD, gate_up_ED2F)
        gate, up = block_EC2F.chunk(2, -1)
        silu_ECF = F.silu(gate)
        y_RD = torch.bmm(silu_ECF * up, down_EFD).flatten(0, 1)
        gates_TK = gates_TK.to(x_TD.dtype)
        ctx.save_for_backward(gates_TK, place_TK, token_R, gate_up_ED2F, down_EFD, rows_ECD, block_EC2F, silu_ECF, y_RD)
        return F.embedding_bag(place_TK, y_RD, mode="sum", per_sample_weights=gates_TK)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_TD):
        gates_TK, place_TK, token_R, gate_up_ED2F, down_EFD, rows_ECD, block_EC2F, silu_ECF, y_RD = ctx.saved_tensors
        grad_RD = grad_TD.index_select(0, token_R)
        grad_gates = (grad_RD * y_RD).sum(-1)[place_TK]
        # fillers have no gate: nothing flows back through them
        weight_R = gates_TK.new_zeros(len(token_R)).scatter_(0, place_TK.flatten(), gates_TK.flatten())
        grad_ECD = grad_RD.mul_(weight_R[:, None]).view_as(rows_ECD)
        gate, up = block_EC2F.chunk(2, -1)
        grad_down = torch.bmm((silu_ECF * up).mT, grad_ECD)
        grad_hidden = torch.bmm(grad_ECD, down_EFD.mT)
        grad_block = torch.empty_like(block_EC2F)
        grad_gate, grad_up = grad_block.chunk(2, -1)
        torch.mul(grad_hidden, silu_ECF, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad_hidden.mul_(up), gate, grad_input=grad_gate)
        grad_gate_up = torch.bmm(rows_ECD.mT, grad_block)
        grad_rows_RD = torch.bmm(grad_block, gate_up_ED2F.mT).flatten(0, 1)
        grad_x = F.embedding_bag(place_TK, grad_rows_RD, mode="sum")
        return grad_x, grad_gates, None, None, grad_gate_up, grad_down


def _rows(sizes: list[int]) -> list[tuple[int, slice]]:
    """(expert, its rows) of the experts that have any."""
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [(e, slice(end - size, end)) for e, (size, end) in enumerate(zip(sizes, ends, strict=True)) if size]


def multiple_for(x_TD: Tensor) -> int:
    """What the rows of each expert are filled up to."""
    return FILL_TO if x_TD.dtype == torch.bfloat16 and x_TD.device.type == "cpu" else 1


def loop(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """Expert after expert, or all at once where that is faster: every dtype; needs the loads on the host."""
    multiple = multiple_for(x_TD)
    sorted_R, order_R = ids_TK.flatten().sort(stable=True)
    size_E = torch.bincount(sorted_R, minlength=gate_up_ED2F.shape[0])
    sizes = size_E.tolist()
    most = _up(max(sizes), max(1, multiple // 2))  # one shape for all: finer steps do not make many
    sizes = [_up(size, multiple) for size in sizes]
    together = multiple > 1 and at_once(sizes, most, *down_EFD.shape[1:])
    if together:
        sizes = [most] * len(sizes)
    filled_E = torch.tensor(sizes, device=size_E.device)
    ahead_E = (filled_E - size_E).cumsum(0) - (filled_E - size_E)
    place_R = torch.arange(len(order_R), device=order_R.device) + ahead_E[sorted_R]
    place_TK = torch.empty_like(order_R).scatter_(0, order_R, place_R).view_as(ids_TK)
    token_R = order_R.new_zeros(sum(sizes)).scatter_(0, place_R, order_R // ids_TK.shape[1])
    if together:
        return _AtOnce.apply(x_TD, gates_TK, place_TK, token_R, gate_up_ED2F, down_EFD)
    # fillers have no gate, so that they add nothing to any output or gradient
    gates_R = gates_TK.new_zeros(sum(sizes), dtype=x_TD.dtype)
    gates_R = gates_R.scatter(0, place_TK.flatten(), gates_TK.flatten().to(x_TD.dtype))
    return _Loop.apply(x_TD, gates_R, token_R, sizes, gate_up_ED2F, down_EFD)


def at_once(sizes: list[int], most: int, hidden: int, dim: int) -> bool:
    """True where one batched product of `most` rows for each expert is faster than products of their own sizes: loads
    are so alike that fillers cost less than operators, and what is between the products stays near the processor."""
    rows = len(sizes) * most
    fillers = rows - sum(sizes)
    return fillers * hidden * dim <= MOST_FILLERS * len(sizes) and rows * 2 * hidden <= MOST_AT_ONCE


def _up(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple


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
