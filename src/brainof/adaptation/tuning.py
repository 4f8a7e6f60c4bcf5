"""Adaptations that change the backbone: LoRA and full fine-tuning.

Under LoRA a weight W becomes W + scale * B A while it is trained (a torch parametrization), and is merged afterwards:
inference costs what it did before. Of stacked experts W (E, D, F) each has its own update, computed in one batched
product.

Legend: r rank, E experts, D features in, F features out. Source: LoRA (arXiv:2106.09685).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import ConfigError
from ..inference.batches import embedded
from ..model.experts import Experts
from ..utils.modules import device_of, dtype_of, seeded, to_device
from .base import Adapted, TrainingSet, finished
from .heads import Head, LinearHead
from .training import Network, Trained, head_groups, train

#: Linear maps and experts that LoRA adapts: attention of the sampler and the backbone, experts of the backbone
ATTENTION = r"(^|\.)(encoder\.)?blocks\.\d+\.attention\.(query|key|value|out)$"
EXPERTS = r"(^|\.)blocks\.\d+\.ffn$"

#: Ends training of a part: leaves a plain model, returns what was changed
Close = Callable[[], dict[str, Tensor]]


def is_unused(name: str) -> bool:
    """Parameters of the decoder, which no head reads."""
    return "decoders" in name.split(".")


class _Tuned(Trained):
    """Backbone and linear head trained together."""

    pool: str = "auto"
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @property
    def frozen(self) -> bool:
        return False

    def _open(self, model: nn.Module) -> tuple[list[dict[str, Any]], Close]:
        """Choose what trains, in place: the optimizer's groups, and how to end."""
        raise NotImplementedError

    def apply(self, model: nn.Module, data: TrainingSet) -> Adapted:
        tuned: Any = copy.deepcopy(model).requires_grad_(False)
        with seeded(data.random_state):
            if data.head is None:
                x_NF = data.pooled(model, self.pool)
                head: Head = LinearHead(self.pool, x_NF.shape[1], data.target.n_outputs, self.dropout)
                head.standardise_by(x_NF)
            else:
                head = copy.deepcopy(data.head)
            head = head.to(device_of(model), dtype_of(model))
            groups, close = self._open(tuned)
            groups += head_groups(head, self.weight_decay)
            trained = sum(p.numel() for group in groups for p in group["params"])

            def encode(rows: np.ndarray) -> Tensor:
                return embedded(tuned, to_device(data.examples.batch(rows), tuned), head.pool)

            network = Network(encode, head, groups, (tuned, head))
            fitted = train(network, data.examples, data.target, self, data.random_state)
        changes = close()
        tuned.eval().requires_grad_(False)
        for module in tuned.modules():
            if isinstance(module, Experts):
                module.load_ME.zero_()  # counted in train mode, for a balance that adapting does not move
        return replace(finished(self, tuned, head, data.target.kind, trained, fitted), changes=changes)


class LoRA(_Tuned):
    """Low-rank updates of the attention maps and of the stacked experts; merged when training ends.

    Rank and alpha of linear maps are those of the publication (rank 32, scaling 64); each expert has its own update of
    `expert_rank` with the same scale alpha / rank. On `base` about 2 % of the parameters train.
    """

    name: ClassVar[str] = "lora"
    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=64.0, gt=0)
    expert_rank: int = Field(default=1, ge=0)
    """Rank of each expert's update; 0 leaves the experts alone."""
    targets: list[str] = Field(default_factory=lambda: [ATTENTION])
    """Regular expressions of names of linear maps."""
    lr: float = Field(default=1e-3, gt=0)

    def ranks(self, model: nn.Module) -> dict[str, int]:
        """Name of each adapted weight -> rank of its update, at most the size of the weight."""
        ranks = dict.fromkeys((name for name in targets(model, self.targets) if not is_unused(name)), self.rank)
        if self.expert_rank and any(isinstance(module, Experts) for module in model.modules()):
            ranks |= dict.fromkeys(targets(model, [EXPERTS]), self.expert_rank)
        return {name: min(rank, *model.get_parameter(name).shape[-2:]) for name, rank in ranks.items()}

    def _open(self, model: nn.Module) -> tuple[list[dict[str, Any]], Close]:
        updates = add_low_rank(model, self.ranks(model), self.alpha / self.rank)

        def close() -> dict[str, Tensor]:
            merge_low_rank(model, updates)
            parts = [(f"{name}.lora_{side}", getattr(updates[name], side)) for name in updates for side in ("A", "B")]
            return {name: factor.detach() for name, factor in parts}

        parameters = [p for update in updates.values() for p in update.parameters()]
        return [{"params": parameters, "weight_decay": 0.0}], close


class FullFineTune(_Tuned):
    """Every parameter of the encoder trains; lower layers more slowly, by `layer_decay` per layer."""

    name: ClassVar[str] = "full"
    lr: float = Field(default=3e-4, gt=0)
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    epochs: int = Field(default=10, ge=1)

    def _open(self, model: Any) -> tuple[list[dict[str, Any]], Close]:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not is_unused(name))
        if hasattr(model, "parameter_groups"):
            groups = model.parameter_groups(self.weight_decay, self.layer_decay)
        else:
            groups = head_groups(model, self.weight_decay)

        def close() -> dict[str, Tensor]:
            return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

        return groups, close


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

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * product(self.A, self.B)


def product(a: Tensor, b: Tensor) -> Tensor:
    """B A as the weight lies: that of stacked experts has its sides exchanged."""
    return b @ a if a.ndim == 2 else (b @ a).mT


def targets(model: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Weights (linear maps, stacked experts) whose module matches a regular expression; ConfigError where none does."""
    found: dict[str, None] = {}
    for pattern in patterns:
        matched = []
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and re.search(pattern, name):
                matched.append(f"{name}.weight")
            elif isinstance(module, Experts) and re.search(pattern, name):
                matched += [f"{name}.gate_up_ED2F", f"{name}.down_EFD"]
        if not matched:
            raise ConfigError(f"{pattern!r} matches no linear map or experts of the model", field="targets")
        found |= dict.fromkeys(matched)
    return list(found)


def add_low_rank(model: nn.Module, ranks: dict[str, int], scale: float) -> dict[str, LowRank]:
    """Parametrize the named weights in place; returns their updates."""
    updates = {}
    for name, rank in ranks.items():
        path, _, leaf = name.rpartition(".")
        updates[name] = LowRank(model.get_parameter(name), rank, scale)
        parametrize.register_parametrization(model.get_submodule(path), leaf, updates[name])
    return updates


def merge_low_rank(model: nn.Module, names: Iterable[str]) -> None:
    """Write the updates into the weights and take the parametrizations away."""
    for name in names:
        path, _, leaf = name.rpartition(".")
        parametrize.remove_parametrizations(model.get_submodule(path), leaf, leave_parametrized=True)


@torch.no_grad()
def apply_factors(model: nn.Module, stored: dict[str, Tensor], alpha: dict[str, float]) -> None:
    """Add stored factors to a model, in place; KeyError, RuntimeError or AttributeError where they are of another."""
    for name, scale in alpha.items():
        a, b = stored[f"{name}.lora_A"], stored[f"{name}.lora_B"]
        weight = model.get_parameter(name)
        weight.add_((scale / a.shape[-2]) * product(a.to(weight), b.to(weight)))
