"""Sparse experts: a router in float32, shared and routed gated feed-forwards, and a bias that balances without a loss.

Legend: T tokens, D width, E experts, F hidden width, K experts per token, M modalities (groups whose load is counted).

    s = sigmoid(router x);  chosen = top-K of s + bias;  g = s of the chosen, normalised, times route_scale
    y = shared(x) + sum over chosen of g_i expert_i(x)

The bias enters the choice only, and is moved by `brainof.model.balance.update_balance` after each optimizer step.
Sources: DeepSeekMoE and auxiliary-loss-free balancing (arXiv:2408.15664).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..channels import MODALITIES
from ..errors import ConfigError
from .ffn import SwiGLU, swiglu

Backend = Literal["auto", "grouped", "loop", "masked"]


def count_tokens(load_ME: Tensor, ids_TK: Tensor, group_T: Tensor | None, valid_T: Tensor | None) -> None:
    """Add the tokens sent to each expert to `load_ME`, by group; nothing while gradients are computed.

    Activation checkpointing repeats the forward pass inside the backward pass: what is counted there was counted
    before.
    """
    if torch._C._current_graph_task_id() != -1:
        return
    slot = ids_TK if group_T is None else ids_TK + group_T[:, None] * load_ME.shape[1]
    one = torch.ones((), dtype=load_ME.dtype, device=load_ME.device) if valid_T is None else valid_T[:, None]
    load_ME.view(-1).scatter_add_(0, slot.flatten(), one.to(load_ME.dtype).expand_as(slot).flatten())


# An operator of its own is opaque to compilers, so that compiled code asks at run time where it is. It is defined in
# the plain way, because the decorator for it imports the whole compiler on the first call.
_library = torch.library.Library("brainof", "FRAGMENT")
_library.define("count_tokens(Tensor(a!) load_ME, Tensor ids_TK, Tensor? group_T, Tensor? valid_T) -> ()")
_library.impl("count_tokens", count_tokens, "CompositeExplicitAutograd")


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


def grouped_experts(x_RD: Tensor, ends_E: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """Expert outputs of rows sorted by expert, expert e holding the rows up to ends_E[e]; two grouped products."""
    hidden = swiglu(F.grouped_mm(x_RD, gate_up_ED2F, offs=ends_E))
    return F.grouped_mm(hidden, down_EFD, offs=ends_E)


def loop_experts(x_RD: Tensor, ends_E: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """The same, one expert after the other; every dtype.

    Weights are unbound once: indexing `w[e]` would make each expert's gradient fill a whole (E, D, 2F) tensor. Rows
    are split once for the same reason.
    """
    sizes = torch.diff(ends_E, prepend=ends_E.new_zeros(1)).tolist()
    parts = zip(x_RD.split(sizes), gate_up_ED2F.unbind(0), down_EFD.unbind(0), strict=True)
    return torch.cat([swiglu(x @ gate_up) @ down for x, gate_up, down in parts])


def masked_experts(x_TD: Tensor, gates_TE: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """Every expert on every token, weighted by gates that are zero where an expert was not chosen.

    It costs E / K times more and has no shape that depends on data: the form that `torch.export` accepts.
    """
    hidden_ETF = swiglu(torch.matmul(x_TD, gate_up_ED2F))
    return torch.matmul(hidden_ETF * gates_TE.t()[..., None].to(x_TD.dtype), down_EFD).sum(0)


class Experts(nn.Module):
    """Routed and shared gated feed-forwards in place of one dense feed-forward.

    Parameters
    ----------
    dim : int
        Width D.
    experts, top_k, hidden : int
        Routed experts E, experts per token K, hidden width F of each.
    shared : int
        Hidden width of the shared expert, 0 for none.
    route_scale : float
        Factor on the normalised gates.
    backend : {"auto", "grouped", "loop", "masked"}
        "auto" is "grouped" in bfloat16, for which there are kernels that also compile, and "loop" elsewhere.
    residual_gain : float
        Factor on the starting weights of the output maps.

    Attributes
    ----------
    selection_bias : Tensor of float32, shape (E,)
        Added to the scores for the choice only. Stays float32 when the module is cast.
    load_ME : Tensor of int64, shape (M, E)
        Tokens sent to each expert since the last balance update, by modality; counted in train mode only, not saved.
    force_balance : bool
        Send tokens to the experts in turn, whatever the router says (for benchmarks).
    """

    selection_bias: Tensor
    load_ME: Tensor

    def __init__(
        self,
        dim: int,
        experts: int,
        top_k: int,
        hidden: int,
        shared: int = 0,
        route_scale: float = 1.0,
        backend: Backend = "auto",
        residual_gain: float = 1.0,
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ConfigError(f"{top_k} experts per token out of {experts}", field="top_k")
        self.top_k, self.route_scale, self.backend, self.residual_gain = top_k, route_scale, backend, residual_gain
        self.force_balance = False
        self.router_ED = nn.Parameter(torch.empty(experts, dim))
        self.gate_up_ED2F = nn.Parameter(torch.empty(experts, dim, 2 * hidden))
        self.down_EFD = nn.Parameter(torch.empty(experts, hidden, dim))
        self.shared = SwiGLU(dim, shared, residual_gain) if shared else None
        self.register_buffer("selection_bias", torch.zeros(experts, dtype=torch.float32))
        self.register_buffer("load_ME", torch.zeros(len(MODALITIES), experts, dtype=torch.int64), persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.normal_(self.router_ED, std=(3 * self.router_ED.shape[1]) ** -0.5)
        nn.init.normal_(self.gate_up_ED2F, std=self.gate_up_ED2F.shape[1] ** -0.5)
        nn.init.normal_(self.down_EFD, std=self.residual_gain * self.down_EFD.shape[1] ** -0.5)
        nn.init.zeros_(self.selection_bias)
        nn.init.zeros_(self.load_ME)

    def _apply(self, fn, recurse=True):
        bias = self.selection_bias
        super()._apply(fn, recurse)
        if self.selection_bias.dtype != torch.float32:
            # steps of 1e-3 vanish in half precision; the value from before the cast is kept exactly
            self.selection_bias = bias.to(device=self.selection_bias.device, dtype=torch.float32)
        return self

    def route(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen experts (T, K) and their gates (T, K), in at least float32."""
        dtype = torch.float64 if x_TD.dtype == torch.float64 else torch.float32
        with torch.autocast(x_TD.device.type, enabled=False):
            scores_TE = F.linear(x_TD.to(dtype), self.router_ED.to(dtype)).sigmoid()
        if self.force_balance:
            turn = torch.arange(x_TD.shape[0] * self.top_k, device=x_TD.device) % len(self.router_ED)
            ids_TK = turn.unflatten(0, (-1, self.top_k))
        else:
            ids_TK = (scores_TE.detach() + self.selection_bias).topk(self.top_k, dim=-1, sorted=False).indices
        gates_TK = scores_TE.gather(1, ids_TK)
        return ids_TK, gates_TK * (self.route_scale / (gates_TK.sum(-1, keepdim=True) + 1e-20))

    def forward(self, x_BND: Tensor, valid_BN: Tensor | None = None, group_B: Tensor | None = None) -> Tensor:
        """Apply the experts.

        Parameters
        ----------
        x_BND : Tensor
            Tokens.
        valid_BN : Tensor of bool, optional
            Tokens whose routing is counted.
        group_B : Tensor of int64, optional
            Modality of each window, for the counts; 0 without it.
        """
        x_TD = x_BND.flatten(0, -2)
        routed = self.route(x_TD)
        if self.training:
            group_T = None if group_B is None else group_B[:, None].expand(x_BND.shape[:2]).flatten()
            valid_T = None if valid_BN is None else valid_BN.flatten()
            torch.ops.brainof.count_tokens(self.load_ME, routed[0], group_T, valid_T)
        if torch.is_autocast_enabled(x_TD.device.type):  # grouped products are not an autocast operation
            x_TD = x_TD.to(torch.get_autocast_dtype(x_TD.device.type))
        y_TD = self._experts(x_TD, *routed)
        if self.shared is not None:
            y_TD = y_TD + self.shared(x_TD)
        return y_TD.view_as(x_BND)

    def _experts(self, x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor) -> Tensor:
        gate_up, down = self.gate_up_ED2F.to(x_TD.dtype), self.down_EFD.to(x_TD.dtype)
        backend = self._backend(x_TD)
        with torch.autocast(x_TD.device.type, enabled=False):
            if backend == "masked":
                gates_TE = gates_TK.new_zeros(x_TD.shape[0], gate_up.shape[0]).scatter(1, ids_TK, gates_TK)
                return masked_experts(x_TD, gates_TE, gate_up, down)
            sorted_R, order_R = ids_TK.flatten().sort(stable=True)
            inverse_R = torch.empty_like(order_R).scatter_(
                0, order_R, torch.arange(order_R.numel(), device=order_R.device)
            )
            ends_E = torch.searchsorted(
                sorted_R, torch.arange(len(gate_up), device=sorted_R.device), right=True, out_int32=True
            )
            rows_RD = _TakeRows.apply(x_TD, order_R, inverse_R, self.top_k)
            product = grouped_experts if backend == "grouped" else loop_experts
            rows_RD = product(rows_RD, ends_E, gate_up, down)
            rows_RD = _TakeRows.apply(rows_RD, inverse_R, order_R, 1)
            return (rows_RD.view(*ids_TK.shape, -1) * gates_TK[..., None].to(x_TD.dtype)).sum(1)

    def _backend(self, x_TD: Tensor) -> Backend:
        if self.backend == "auto":
            return "grouped" if x_TD.dtype == torch.bfloat16 else "loop"
        if self.backend == "grouped" and x_TD.dtype == torch.float64:
            raise ConfigError("grouped products do not exist in float64", field="expert_backend", fix="use 'loop'")
        return self.backend
