"""Routed experts: in bfloat16 rows filled up on CPU, two grouped products elsewhere (torch 2.10 or later).

Reason: on CPU a product in bfloat16 is compiled for each number of rows, and loads change with every batch; with rows
filled up to multiples of 32 the layer takes 0.46 (`tiny`) and 0.66 (`base`) of the time of the plain loop. On a GPU the
loop waits for the loads on the host and starts three operators per expert; grouped products do neither.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import swiglu

#: What the rows of an expert are filled up to
FILL_TO = 32


def use_filled(x_TD: Tensor) -> bool:
    """True where products are compiled for each number of rows."""
    return x_TD.device.type == "cpu" and x_TD.dtype == torch.bfloat16 and not torch.compiler.is_compiling()


def filled_experts(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """As `experts.loop_experts`; fillers have no gate, so that they add nothing to any output or gradient."""
    expert_R, top_k = ids_TK.flatten(), ids_TK.shape[1]
    order_R = expert_R.argsort(stable=True)
    size_E = torch.bincount(expert_R, minlength=len(down_EFD))
    filled_E = (size_E + FILL_TO - 1) // FILL_TO * FILL_TO
    ahead_E = (filled_E - size_E).cumsum(0) - (filled_E - size_E)
    place_R = torch.arange(len(order_R)) + ahead_E[expert_R[order_R]]
    sizes = filled_E.tolist()
    token_F = order_R.new_zeros(sum(sizes)).scatter_(0, place_R, order_R // top_k)
    gate_F = gates_TK.new_zeros(sum(sizes)).scatter(0, place_R, gates_TK.flatten()[order_R]).to(x_TD.dtype)
    parts = zip(x_TD.index_select(0, token_F).split(sizes), gate_up_ED2F.unbind(), down_EFD.unbind(), strict=True)
    made = [swiglu(rows_FD @ gate_up) @ down for rows_FD, gate_up, down in parts]
    return torch.zeros_like(x_TD).index_add(0, token_F, torch.cat(made) * gate_F[:, None])


def use_grouped(x_TD: Tensor) -> bool:
    """True where grouped products exist and are the faster form."""
    elsewhere = x_TD.device.type != "cpu" or torch.compiler.is_compiling()
    return elsewhere and x_TD.dtype == torch.bfloat16 and hasattr(F, "grouped_mm")


def grouped_experts(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """As `experts.loop_experts`; not in float64."""
    sorted_R, order_R = ids_TK.flatten().sort(stable=True)
    inverse_R = torch.empty_like(order_R).scatter_(0, order_R, torch.arange(len(order_R), device=order_R.device))
    experts_E = torch.arange(gate_up_ED2F.shape[0], device=sorted_R.device)
    ends_E = torch.searchsorted(sorted_R, experts_E, right=True, out_int32=True)
    rows_RD = F.embedding(order_R // ids_TK.shape[1], x_TD)
    rows_RD = F.grouped_mm(swiglu(F.grouped_mm(rows_RD, gate_up_ED2F, offs=ends_E)), down_EFD, offs=ends_E)
    return (F.embedding(inverse_R, rows_RD).view(*ids_TK.shape, -1) * gates_TK[..., None].to(x_TD.dtype)).sum(1)
