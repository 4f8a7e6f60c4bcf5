"""The optimizer and the learning-rate schedule."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from ..model import BrainOF
from .config import PretrainConfig


def make_optimizer(model: BrainOF, config: PretrainConfig) -> torch.optim.AdamW:
    """AdamW over the model's own groups: matrices decay; vectors, norms, scales, latents and routers do not."""
    groups = model.parameter_groups(config.weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


class Schedule(NamedTuple):
    """What the learning rate depends on; `warmup` is a fraction of the steps."""

    lr: float
    warmup: float
    steps: int


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine to zero at the last step; a pure function of the step."""
    warmup = max(1, round(schedule.warmup * schedule.steps))
    if step < warmup:
        return schedule.lr * (step + 1) / warmup
    fraction = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
