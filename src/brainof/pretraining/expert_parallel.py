"""Experts on ranks of their own: tokens travel to the experts they chose and back, by all-to-all over a mesh axis.

The layer knows nothing of it: its stacked weights become those of this rank's experts, and its product is replaced. The
sizes of what is exchanged must be known on the host: one wait for the device per layer, which no all-to-all avoids.

Legend: T tokens, D width, F hidden width, E experts of the layer, e of this rank, G ranks of the axis, K experts per
token, R = T K rows (token-expert pairs) sorted by expert, A rows that arrive.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.experts import Experts, choose


class Exchange:
    """The routed product of `Experts` where each rank of an axis holds some of them."""

    def __init__(self, group: Any, experts: int) -> None:
        self.group, self.ranks, self.experts = group, dist.get_world_size(group), experts

    def __call__(
        self, x_TD: Tensor, ids_TK: Tensor, gates_TK: Tensor, gate_up_eD2F: Tensor, down_eFD: Tensor
    ) -> Tensor:
        top_k, e = ids_TK.shape[1], len(down_eFD)
        order_R = ids_TK.flatten().argsort(stable=True)
        inverse_R = torch.empty_like(order_R).scatter_(0, order_R, torch.arange(len(order_R), device=order_R.device))
        sent_Ge = torch.bincount(ids_TK.flatten(), minlength=self.experts).view(self.ranks, e)
        come_Ge = torch.empty_like(sent_Ge)
        dist.all_to_all_single(come_Ge, sent_Ge, group=self.group)
        sent, come = torch.stack([sent_Ge.sum(1), come_Ge.sum(1)]).tolist()
        rows_AD = self._travel(F.embedding(order_R // top_k, x_TD), come, sent)
        local_A = torch.arange(e, device=x_TD.device).repeat(self.ranks).repeat_interleave(come_Ge.flatten())
        ones_A1 = gates_TK.new_ones(len(rows_AD), 1)
        made_AD = choose(rows_AD)(rows_AD, local_A[:, None], ones_A1, gate_up_eD2F, down_eFD)
        y_RD = self._travel(made_AD, sent, come)
        return (F.embedding(inverse_R, y_RD).view(*ids_TK.shape, -1) * gates_TK[..., None].to(x_TD.dtype)).sum(1)

    def _travel(self, rows_RD: Tensor, come: list[int], sent: list[int]) -> Tensor:
        from torch.distributed.nn.functional import all_to_all_single

        arrived_AD = rows_RD.new_empty(sum(come), rows_RD.shape[1])
        return all_to_all_single(arrived_AD, rows_RD.contiguous(), come, sent, group=self.group)


def spread_experts(model: nn.Module, device: torch.device, size: int) -> list[nn.Parameter]:
    """Leave this rank its part of the experts of each layer, in place; returns the parameters that are parts.

    As many ranks as divide the number of experts share them; where there are more ranks, groups of them hold the same
    ones. A part has the attribute `spread`: the mesh (copy, expert) along whose last axis it is one.
    """
    from torch.distributed.device_mesh import init_device_mesh

    layers = [module for module in model.modules() if isinstance(module, Experts)]
    axis = math.gcd(size, *(len(layer.router_ED) for layer in layers))
    mesh = init_device_mesh(device.type, (size // axis, axis), mesh_dim_names=("copy", "expert"))
    parts = []
    for layer in layers:
        layer.product = Exchange(mesh.get_group("expert"), len(layer.router_ED))
        for name in ("gate_up_ED2F", "down_EFD"):
            whole = getattr(layer, name)
            part = nn.Parameter(whole.detach().chunk(axis)[mesh.get_local_rank("expert")].clone())
            part.spread = mesh  # type: ignore[attr-defined]
            setattr(layer, name, part)
            parts.append(part)
    return parts
