"""The optimizer and the learning-rate schedule."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import nn

from ..errors import ConfigError
from ..model import BrainOF
from .config import PretrainConfig
from .parallel import own_parts


def make_optimizer(model: BrainOF, config: PretrainConfig) -> torch.optim.Optimizer:
    """AdamW over the model's own groups: matrices decay; vectors, norms, scales, latents and routers do not."""
    groups = []
    for group in model.parameter_groups(config.weight_decay):
        for spread in (False, True):  # experts on ranks of their own are no DTensors, unlike the rest
            parameters = [p for p in group["params"] if hasattr(p, "spread") == spread]
            groups += [group | {"params": parameters}] if parameters else []
    if config.optimizer == "muon":
        if config.parallel not in ("auto", "none", "ddp"):
            raise ConfigError("muon needs whole matrices", field="optimizer", fix="set parallel=ddp or optimizer=adamw")
        return MuonAdamW(groups, config.lr, config.betas)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


class MuonAdamW(torch.optim.Optimizer):
    """Muon (arXiv:2502.16982, steps as large as those of AdamW) for matrices that decay, AdamW for all else.

    Stacked experts are no matrices to torch's Muon, and stay with AdamW. Both share groups and state, so that schedule
    and checkpoints see one optimizer.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        parts: list[dict[str, Any]] = []
        for group in groups:
            for muon in (True, False):
                chosen = [p for p in group["params"] if muon == (p.ndim == 2 and group["weight_decay"] > 0)]
                rest = {name: value for name, value in group.items() if name not in ("params", "names")}
                parts += [{**rest, "params": chosen, "muon": muon}] if chosen else []
        super().__init__(parts, {"lr": lr})
        matrices, others = ([group for group in self.param_groups if group["muon"] == muon] for muon in (True, False))
        self._parts = [
            torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, betas=betas, fused=True),
        ]
        for part in self._parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both."""
        for part in self._parts:
            part.step()


class Average:
    """A moving average of the parameters of a model: value += (1 - decay) (parameter - value) after each step.

    `tensors` holds it as `average.NAME`, which checkpoints save.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self._parameters = decay, [p.detach() for p in model.parameters()]
        self.tensors = {f"average.{name}": p.detach().clone() for name, p in model.named_parameters()}

    def model_of(self, model: nn.Module) -> nn.Module:
        """A model in eval mode whose parameters are the average, as it moves on, and whose buffers are the model's."""
        shared = {id(buffer): buffer for buffer in model.buffers()}
        found = copy.deepcopy(model, shared).eval().requires_grad_(False)
        for name, parameter in found.named_parameters():
            parameter.data = self.tensors[f"average.{name}"]
        return found

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of a step."""
        torch._foreach_lerp_(own_parts(self.tensors.values()), own_parts(self._parameters), 1 - self.decay)


class Schedule(NamedTuple):
    """What the learning rate depends on; `warmup` is a fraction of the steps.

    With `cooldown`, a fraction of the steps too, the rate stays level and then falls linearly over these last steps (a
    trapezoid), so that a longer run can branch off before them; without it the rate falls as a cosine.
    """

    lr: float
    warmup: float
    steps: int
    cooldown: float | None = None


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine or a trapezoid to zero at the last step; a pure function of the step."""
    warmup = max(1, round(schedule.warmup * schedule.steps))
    if step < warmup:
        return schedule.lr * (step + 1) / warmup
    if schedule.cooldown is not None:
        return schedule.lr * min(1.0, (schedule.steps - step) / max(1, round(schedule.cooldown * schedule.steps)))
    fraction = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
