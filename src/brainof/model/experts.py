"""Sparse experts: a router in float32, shared and routed gated feed-forwards, and a bias that balances without a loss.

Legend: T tokens, D width, E experts, F hidden width, K experts per token, M modalities (groups whose load is counted).

    s = sigmoid(router x);  chosen = top-K of s + bias;  g = s of the chosen, normalised
    y = shared(x) + sum over chosen of g_i expert_i(x)

The bias enters the choice only, and is moved by `brainof.model.balance.update_balance` after each optimizer step.
Sources: DeepSeekMoE and auxiliary-loss-free balancing (arXiv:2408.15664).
"""

from __future__ import annotations

import threading
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..channels import MODALITIES
from ..errors import ConfigError
from .expert_backends import BACKENDS
from .ffn import SwiGLU

Backend = Literal["auto", "grouped", "loop", "masked"]

_counting = threading.Lock()


def count_tokens(load_ME: Tensor, ids_TK: Tensor, group_T: Tensor | None, valid_T: Tensor | None) -> None:
    """Add the tokens sent to each expert to `load_ME`, by group; nothing while gradients are computed.

    Activation checkpointing repeats the forward pass inside the backward pass: what is counted there was counted
    before.
    """
    if torch._C._current_graph_task_id() != -1:
        return
    slot = ids_TK if group_T is None else ids_TK + group_T[:, None] * load_ME.shape[1]
    one = torch.ones((), dtype=load_ME.dtype, device=load_ME.device) if valid_T is None else valid_T[:, None]
    with _counting:  # threads may share a model
        load_ME.view(-1).scatter_add_(0, slot.flatten(), one.to(load_ME.dtype).expand_as(slot).flatten())


# An operator of its own is opaque to compilers, so that compiled code asks at run time where it is. It is defined in
# the plain way, because the decorator for it imports the whole compiler on the first call.
_library = torch.library.Library("brainof", "FRAGMENT")
_library.define("count_tokens(Tensor(a!) load_ME, Tensor ids_TK, Tensor? group_T, Tensor? valid_T) -> ()")
_library.impl("count_tokens", count_tokens, "CompositeExplicitAutograd")


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
    backend : {"auto", "grouped", "loop", "masked"}
        "auto" is "grouped" in bfloat16 on other devices and in compiled code, and "loop" elsewhere.
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
        residual_gain: float = 1.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ConfigError(f"{top_k} experts per token out of {experts}", field="top_k")
        self.top_k, self.backend, self.residual_gain = top_k, backend, residual_gain
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
        return ids_TK, gates_TK / (gates_TK.sum(-1, keepdim=True) + 1e-20)

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
        backend = self.backend
        if backend == "auto":
            elsewhere = x_TD.device.type != "cpu" or torch.compiler.is_compiling()
            backend = "grouped" if x_TD.dtype == torch.bfloat16 and elsewhere else "loop"
        gate_up, down = self.gate_up_ED2F.to(x_TD.dtype), self.down_EFD.to(x_TD.dtype)
        with torch.autocast(x_TD.device.type, enabled=False):
            y_TD = BACKENDS[backend](x_TD, *routed, gate_up, down)
        if self.shared is not None:
            y_TD = y_TD + self.shared(x_TD)
        return y_TD.view_as(x_BND)
