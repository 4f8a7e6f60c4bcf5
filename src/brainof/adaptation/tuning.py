"""Adaptations that change the backbone: LoRA and full fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ..inference.batches import embedded
from ..model.experts import Experts
from ..utils.modules import device_of, dtype_of, seeded, to_device
from .base import Adapted, copied, finished
from .heads import Head, LinearHead
from .low_rank import add_low_rank, factors, merge_low_rank, targets
from .training import Network, Trained, head_groups, train
from .training_set import TrainingSet

#: Linear maps and experts that LoRA adapts: attention of the sampler and the backbone, experts of the backbone
ATTENTION = r"(^|\.)(encoder\.)?blocks\.\d+\.attention\.(query|key|value|out)$"
EXPERTS = r"(^|\.)blocks\.\d+\.ffn$"

#: Ends training of a part: leaves a plain model, returns what was changed
Close = Callable[[], dict[str, torch.Tensor]]


def is_unused(name: str) -> bool:
    """Parameters of the decoder, which no head reads."""
    return "decoders" in name.split(".")


class _Tuned(Trained):
    """Backbone and linear head trained together."""

    frozen: ClassVar[bool] = False
    pool: str = "auto"
    dropout: float = Field(default=0.1, ge=0, lt=1)

    def _open(self, model: nn.Module) -> tuple[list[dict[str, Any]], Close]:
        """Choose what trains, in place: the optimizer's groups, and how to end."""
        raise NotImplementedError

    def apply(self, model: nn.Module, data: TrainingSet) -> Adapted:
        tuned: Any = copied(model)
        examples, target = data.examples, data.target
        with seeded(data.random_state):
            if data.head is None:
                x_NF = data.pooled(model, self.pool)
                found: Head = LinearHead(self.pool, x_NF.shape[1], target.n_outputs, self.dropout)
                found.standardise_by(x_NF)
            else:
                found = copy.deepcopy(data.head).requires_grad_(True)
            found = found.to(device_of(model), dtype_of(model))
            groups, close = self._open(tuned)
            trained = sum(p.numel() for group in groups for p in group["params"])

            def encode(rows: np.ndarray) -> torch.Tensor:
                return embedded(tuned, to_device(examples.batch(rows), tuned), found.pool)

            groups += head_groups(found, self.weight_decay)
            trained += sum(p.numel() for p in found.parameters())
            network = Network(encode, found, groups, (tuned, found))
            fitted = train(network, examples, target, self, data.random_state)
        changes = close()
        tuned.eval().requires_grad_(False)
        for module in tuned.modules():
            if isinstance(module, Experts):
                module.load_ME.zero_()  # counted in train mode, for a balance that adapting does not move
        return replace(finished(self, tuned, found, target.kind, trained, fitted), changes=changes)


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
        sizes = {name: min(model.get_parameter(name).shape[-2:]) for name in ranks}
        return {name: min(rank, sizes[name]) for name, rank in ranks.items()}

    def _open(self, model: nn.Module) -> tuple[list[dict[str, Any]], Close]:
        updates = add_low_rank(model, self.ranks(model), self.alpha / self.rank)

        def close() -> dict[str, torch.Tensor]:
            changes = factors(updates)
            merge_low_rank(model, updates)
            return changes

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

        def close() -> dict[str, torch.Tensor]:
            return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

        return groups, close
