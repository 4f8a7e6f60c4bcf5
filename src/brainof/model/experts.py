"""Sparse experts: a router in float32, shared and routed gated feed-forwards, and a bias that balances without a loss.

Legend: T tokens, D width, E experts, F hidden width, K experts per token, R = T K rows (token-expert pairs) sorted by
expert, M modalities (groups whose load is counted).

    s = sigmoid(router x);  chosen = top-K of s + bias;  g = s of the chosen, normalised
    y = shared(x) + sum over chosen of g_i expert_i(x)

The bias enters the choice only, and is moved by `brainof.model.balance.move_biases` after each optimizer step.
Sources: DeepSeekMoE (arXiv:2401.06066) and loss-free balancing (arXiv:2408.15664).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..channels import MODALITIES
from .kernels.experts import filled_experts, grouped_experts, use_filled, use_grouped
from .layers import SwiGLU, swiglu

_counting = threading.Lock()

#: (tokens (T, D), experts of each (T, K), gates (T, K), weights of all experts) -> outputs (T, D)
Product = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Experts(nn.Module):
    """Routed and shared gated feed-forwards in place of one dense feed-forward.

    `hidden` is the width F of each routed expert, `shared` that of the shared one (0: none), `residual_gain` a factor
    on the starting weights of the output maps.

    Attributes
    ----------
    selection_bias : Tensor of float32, shape (E,)
        Added to the scores for the choice only. Stays float32 when the module is cast.
    load_ME : Tensor of int64, shape (M, E)
        Tokens sent to each expert since the last balance update, by modality; see `count`. Not saved.
    force_balance : bool
        Send tokens to the experts in turn, whatever the router says (for benchmarks).
    product : callable or None
        In place of what `choose` gives, such as one whose experts are elsewhere.
    """

    selection_bias: Tensor
    load_ME: Tensor

    def __init__(
        self, dim: int, experts: int, top_k: int, hidden: int, shared: int = 0, residual_gain: float = 1.0
    ) -> None:
        super().__init__()
        self.top_k, self.residual_gain = top_k, residual_gain
        self.force_balance = False
        self.product: Product | None = None
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
        return ids_TK, gates_TK / (gates_TK.sum(-1, keepdim=True) + 1e-20)

    def forward(self, x_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (B, N, D), and the experts that each token was sent to (B, N, K), for `count`."""
        x_TD = x_BND.flatten(0, -2)
        ids_TK, gates_TK = self.route(x_TD)
        if torch.is_autocast_enabled(x_TD.device.type):  # products of stacked weights are not an autocast operation
            x_TD = x_TD.to(torch.get_autocast_dtype(x_TD.device.type))
        gate_up, down = self.gate_up_ED2F.to(x_TD.dtype), self.down_EFD.to(x_TD.dtype)
        with torch.autocast(x_TD.device.type, enabled=False):
            y_TD = (self.product or choose(x_TD))(x_TD, ids_TK, gates_TK, gate_up, down)
        if self.shared is not None:
            y_TD = y_TD + self.shared(x_TD)
        return y_TD.view_as(x_BND), ids_TK.unflatten(0, x_BND.shape[:-1])

    @torch.no_grad()
    def count(self, ids_BNK: Tensor, modality_B: Tensor | None = None) -> None:
        """Add the tokens sent to each expert (`ids_BNK` of `forward`) to `load_ME`, in train mode only.

        The caller counts what a forward pass returned: a pass repeated by activation checkpointing adds nothing.
        Without the modality of each window all count as modality 0.
        """
        if not self.training:
            return
        slot = ids_BNK if modality_B is None else ids_BNK + modality_B[:, None, None] * self.load_ME.shape[1]
        with _counting:  # threads may share a model
            self.load_ME.view(-1).scatter_add_(0, slot.flatten(), torch.ones_like(slot).flatten())


def choose(x_TD: Tensor) -> Product:
    """The form of the routed experts that suits dtype, device and compiler; all are equal to rounding."""
    if torch.compiler.is_exporting():
        return all_experts
    if use_grouped(x_TD):
        return grouped_experts
    return filled_experts if use_filled(x_TD) else loop_experts


def loop_experts(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """Sum over k of gates[t, k] * swiglu(x[t] gate_up[e]) down[e] with e = ids[t, k], expert after expert."""
    order_R = ids_TK.flatten().argsort(stable=True)
    inverse_R = torch.empty_like(order_R).scatter_(0, order_R, torch.arange(len(order_R), device=order_R.device))
    sizes = torch.bincount(ids_TK.flatten(), minlength=len(down_EFD)).tolist()
    # the gradient of an embedding is a sorted sum: faster and more repeatable than that of an index
    rows = F.embedding(order_R // ids_TK.shape[1], x_TD).split(sizes)
    # gates weigh what is hidden, which is narrower than outputs
    gates = F.embedding(order_R, gates_TK.to(x_TD.dtype).flatten()[:, None]).split(sizes)
    # unbound, because indexing under autograd would fill a whole stack of gradients for every expert
    parts = zip(rows, gates, gate_up_ED2F.unbind(), down_EFD.unbind(), strict=True)
    y_RD = torch.cat([(swiglu(x_D @ gate_up) * gate) @ down for x_D, gate, gate_up, down in parts])
    return F.embedding(inverse_R, y_RD).view(*ids_TK.shape, -1).sum(1)


def all_experts(x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_ED2F: Tensor, down_EFD: Tensor) -> Tensor:
    """As `loop_experts`, every expert on every token: `torch.export` takes no shape that depends on data."""
    gates_TE = gates_TK.new_zeros(x_TD.shape[0], gate_up_ED2F.shape[0]).scatter(1, ids_TK, gates_TK)
    hidden_ETF = swiglu(torch.matmul(x_TD, gate_up_ED2F))
    return torch.matmul(hidden_ETF * gates_TE.t()[..., None].to(x_TD.dtype), down_EFD).sum(0)
