"""Load balance of the experts: one explicit update per optimizer step, with one collective."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..channels import MODALITIES
from .experts import Experts


def violation(load_E: Tensor) -> Tensor:
    """MaxVio: largest load over mean load, minus one (0 is perfect balance, E - 1 is collapse); over the last axis."""
    load_E = load_E.double()
    return load_E.amax(-1) / load_E.mean(-1).clamp_min(1e-12) - 1


@torch.no_grad()
def move_biases(model: nn.Module, gamma: float = 1e-3, group: Any = None) -> Tensor | None:
    """Move every selection bias by one step towards equal load, and start counting anew; waits for nothing.

    bias += gamma (sign(mean load - load) - its mean), with the tokens counted since the last call: call it once after
    each optimizer step, whatever the number of accumulated batches. Evaluation passes and recomputed passes are not
    counted. Wrap a replicated model with `broadcast_buffers=False`, or the counts of rank 0 replace the others'.

    `gamma` 0 measures without moving (for adaptation); counts are summed over the ranks of `group`, the default one
    where processes are initialised. Returns the tokens (layers, modalities, experts) that each expert was sent, over
    all ranks; None without experts.
    """
    layers = [module for module in model.modules() if isinstance(module, Experts)]
    if not layers:
        return None
    load_LME = torch.stack([layer.load_ME for layer in layers])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(load_LME, group=group)
    load_LE = load_LME.sum(1)
    error_LE = (load_LE.double().mean(-1, keepdim=True) - load_LE).sign().float()
    step_LE = gamma * (error_LE - error_LE.mean(-1, keepdim=True))
    for layer, step_E in zip(layers, step_LE, strict=True):
        layer.selection_bias += step_E
        layer.load_ME.zero_()
    return load_LME


def balance_metrics(load_LME: Tensor) -> dict[str, float]:
    """How evenly the experts are used; empty when nothing was counted.

    "max_vio" (mean over layers), "max_vio_worst" (worst layer), "idle_experts" (of the worst layer, the fraction of
    experts with less than a tenth of the mean load), and "max_vio/<modality>" for each modality seen.
    """
    seen_M = load_LME.sum((0, 2))
    by_modality_M = violation(load_LME).mean(0)
    load_LE = load_LME.sum(1).double()
    overall_L = violation(load_LE)
    idle = (load_LE < 0.1 * load_LE.mean(-1, keepdim=True)).double().mean(-1).max()
    # one transfer to the host
    overall = torch.stack([overall_L.mean(), overall_L.max(), idle])
    values = torch.cat([overall, by_modality_M, seen_M.double()]).tolist()
    names = ("max_vio", "max_vio_worst", "idle_experts", *(f"max_vio/{name}" for name in MODALITIES))
    values, seen = values[: len(names)], values[len(names) :]
    if not sum(seen):
        return {}
    return {name: value for name, value, there in zip(names, values, [1, 1, 1, *seen], strict=True) if there}
