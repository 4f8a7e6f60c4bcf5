"""Low-rank updates of weights, for linear maps and for the stacked weights of experts alike.

A weight W becomes W + scale * B A while it is trained (a torch parametrization), and is merged afterwards: inference
costs what it did before. Of stacked experts W (E, D, F) each has its own update, computed in one batched product.

Legend: r rank, E experts, D features in, F features out. Source: LoRA (arXiv:2106.09685).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import ConfigError
from ..model.experts import Experts


class LowRank(nn.Module):
    """W + scale * B A, for a weight (out, in) of a linear map, or (E, in, out) of stacked experts.

    Experts multiply from the right (x W, not W x), so that A and B change sides. `scale` is alpha / r.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        *stack, rows, columns = weight.shape
        inner, outer = (columns, rows) if not stack else (rows, columns)
        self.A = nn.Parameter(weight.new_empty(*stack, rank, inner))
        self.B = nn.Parameter(weight.new_zeros(*stack, outer, rank))
        nn.init.normal_(self.A, std=(3 * inner) ** -0.5)  # B starts at zero: the model starts as it was

    def update(self) -> Tensor:
        """What is added to the weight."""
        return self.scale * product(self.A, self.B)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.update()


def product(a: Tensor, b: Tensor) -> Tensor:
    """B A as the weight lies: that of stacked experts has its sides exchanged."""
    return b @ a if a.ndim == 2 else (b @ a).mT


def targets(model: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Weights (linear maps, stacked experts) whose module matches a regular expression; ConfigError where none does."""
    found: list[str] = []
    for pattern in patterns:
        matched = []
        for name, module in model.named_modules():
            if not re.search(pattern, name):
                continue
            if isinstance(module, nn.Linear):
                matched.append(f"{name}.weight")
            elif isinstance(module, Experts):
                matched += [f"{name}.gate_up_ED2F", f"{name}.down_EFD"]
        if not matched:
            raise ConfigError(f"{pattern!r} matches no linear map or experts of the model", field="targets")
        found += [name for name in matched if name not in found]
    return found


def add_low_rank(model: nn.Module, ranks: dict[str, int], scale: float) -> dict[str, LowRank]:
    """Parametrize the named weights in place; returns their updates."""
    updates = {}
    for name, rank in ranks.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        updates[name] = LowRank(getattr(module, leaf), rank, scale)
        parametrize.register_parametrization(module, leaf, updates[name])
    return updates


def merge_low_rank(model: nn.Module, names: Iterable[str]) -> None:
    """Write the updates into the weights and take the parametrizations away."""
    for name in names:
        path, _, leaf = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(path), leaf, leave_parametrized=True)


def factors(updates: dict[str, LowRank]) -> dict[str, Tensor]:
    """`NAME.lora_A` and `NAME.lora_B` of each update, detached copies."""
    return {
        f"{name}.lora_{side}": getattr(update, side).detach().clone()
        for name, update in updates.items()
        for side in ("A", "B")
    }


@torch.no_grad()
def apply_factors(model: nn.Module, stored: dict[str, Tensor], alpha: dict[str, float]) -> None:
    """Add stored factors to a model, in place; KeyError, RuntimeError or AttributeError where they are of another."""
    for name, scale in alpha.items():
        a, b = stored[f"{name}.lora_A"], stored[f"{name}.lora_B"]
        weight = model.get_parameter(name)
        weight.add_((scale / a.shape[-2]) * product(a.to(weight), b.to(weight)))
