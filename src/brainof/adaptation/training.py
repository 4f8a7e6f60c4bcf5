"""Every adaptation that has no closed form, trained by the loop of pretraining: a head, or a backbone with it.

Early stopping looks at validation *groups* (subjects) only: without groups there is none, and training runs its epochs.
The balance of the experts is not moved (gamma 0): that would change the backbone beside the gradient.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..errors import ConfigError, check_known
from ..inference.batches import batches
from ..inference.examples import Examples
from ..pretraining.trainer import Schedule, Step, Trainer, require_finite
from ..stats.splits import CrossSubject
from ..utils.modules import evaluating
from .base import Adaptation
from .calibration import fit_temperature
from .heads import Head
from .training_set import Target

log = logging.getLogger(__name__)

#: streams of random numbers that are derived from the seed
SHUFFLE, MIX = 1, 2


class Trained(Adaptation):
    """What adaptations that are trained by gradient have in common."""

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=16, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the head; above 0 it also serves uncertainty (passes with dropout)."""
    class_weight: Literal["balanced"] | dict[str, float] | None = None
    """Weight of each class in the loss: inverse to its frequency, or by class name."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    """Alpha of the Beta distribution by which pooled features and targets of a batch are mixed in pairs; 0 is off."""
    validation: float = Field(default=0.2, ge=0, lt=1)
    """Fraction of the groups that are held out for early stopping and the temperature."""
    patience: int = Field(default=5, ge=1)
    """Epochs after the warm-up without a lower validation loss, after which training stops; the best weights stay."""


class Network(NamedTuple):
    """What the loop needs of a model: rows -> features, the head, and the groups of its optimizer."""

    encode: Callable[[np.ndarray], Tensor]
    head: Head
    groups: list[dict[str, Any]]
    modules: tuple[nn.Module, ...]


class Fit(nn.Module):
    """Rows of a batch -> their mean loss; label smoothing and mixup of `options` are for training mode only."""

    def __init__(self, network: Network, target: Target, rows: np.ndarray, options: Trained, seed: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(network.modules)
        self.encode, self.head, self.options, self.kind = network.encode, network.head, options, target.kind
        self.y, self.weight = loss_targets(network.head, target, rows, options)
        self.mix = np.random.default_rng([seed, MIX])

    def forward(self, chunk: np.ndarray, counts: Any = None, progress: float = 0.0) -> dict[str, Tensor]:
        """Cross-entropy, or Smooth L1 in units of the target's standard deviation."""
        x_BF, y_BK = self.encode(chunk), self.y[torch.from_numpy(chunk).to(self.y.device)]
        if self.training and self.options.mixup and len(chunk) > 1:
            fraction = float(self.mix.beta(self.options.mixup, self.options.mixup))
            other = torch.from_numpy(self.mix.permutation(len(chunk))).to(y_BK.device)
            x_BF = fraction * x_BF + (1 - fraction) * x_BF[other]
            y_BK = fraction * y_BK + (1 - fraction) * y_BK[other]
        out_BK = self.head(x_BF)
        if self.kind == "classification":
            smoothing = self.options.label_smoothing if self.training else 0.0
            loss = F.cross_entropy(out_BK, y_BK.to(out_BK), weight=self.weight, label_smoothing=smoothing)
        else:
            loss = F.smooth_l1_loss(out_BK / self.head.spread_K, y_BK.to(out_BK) / self.head.spread_K)
        return {"loss": loss}


def split_groups(target: Target, fraction: float, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation rows; a group is on one side only. No validation without groups, or with fewer than 3."""
    everything, nothing = np.arange(len(target)), np.empty(0, np.int64)
    names = np.unique(target.groups) if target.groups is not None else np.empty(0)
    if fraction == 0 or len(names) < 3:
        return everything, nothing
    n_splits = int(np.clip(round(1 / fraction), 2, len(names)))
    y = target.y if target.kind == "classification" else None
    train, held_out = next(CrossSubject(n_splits, random_state=random_state).split(y=y, groups=target.groups))
    if target.kind == "classification" and len(np.unique(target.y[train])) < len(np.unique(target.y)):
        return everything, nothing  # a class that sits in one subject only would not be trained
    return train, held_out


def train(
    network: Network, examples: Examples, target: Target, options: Trained, random_state: int
) -> tuple[dict[str, Any], float]:
    """Train in place; returns what happened and the temperature of the outputs. A HealthError where the loss is not
    finite."""
    rows, held_out = split_groups(target, options.validation, random_state)
    if not len(held_out):
        log.info("no validation groups: training runs all %d epochs", options.epochs)
    per_epoch = sum(1 for _ in batches(examples, rows, options.batch_size))
    shuffle = np.random.default_rng([random_state, SHUFFLE])
    order = (chunk for _ in range(options.epochs) for chunk in batches(examples, rows, options.batch_size, shuffle))
    fit = Fit(network, target, rows, options, random_state)
    optimizer = torch.optim.AdamW(network.groups, lr=options.lr, betas=(0.9, 0.99), fused=True)
    schedule = Schedule(options.lr, options.warmup, options.epochs * per_epoch)
    trainer = Trainer(fit, optimizer, schedule, clip=options.clip)
    best, best_epoch, epoch = np.inf, 0, 0
    kept: list[Tensor] = []
    unread: list[Step] = []
    with closing(trainer.steps(order)) as steps:
        for step in steps:
            unread.append(step.numbers)
            if step.number % per_epoch:
                continue
            require_finite(unread)
            epoch, final_loss, unread = step.number // per_epoch, step.loss.item(), []
            if len(held_out):
                now = validation_loss(fit, examples, held_out, options.batch_size)
                if now < best:
                    best, best_epoch, kept = now, epoch, [p.detach().clone() for p in trainer.parameters]
                elif epoch - max(best_epoch, options.warmup * options.epochs) >= options.patience:
                    break
    for parameter, value in zip(trainer.parameters, kept, strict=False):
        parameter.data.copy_(value)
    fit.eval()
    report: dict[str, Any] = {"epochs": epoch, "steps": epoch * per_epoch, "final_loss": round(final_loss, 6)}
    if len(held_out):
        report |= {"best_epoch": best_epoch, "validation_loss": round(float(best), 6)}
        report["validation_groups"] = np.unique(target.groups[held_out]).tolist()  # type: ignore[index]
    if not len(held_out) or target.kind != "classification":
        return report, 1.0
    chunks = list(batches(examples, held_out, options.batch_size))
    with torch.inference_mode():
        logits = np.concatenate([network.head(network.encode(chunk)).double().cpu() for chunk in chunks])
    return report, fit_temperature(logits, target.y[np.concatenate(chunks)])


def loss_targets(head: Head, target: Target, rows: np.ndarray, options: Trained) -> tuple[Tensor, Tensor | None]:
    """Targets as the loss takes them (one-hot, or standardised by the training rows) and the weights of the classes."""
    like = head.mean_F
    if target.kind == "regression":
        if options.class_weight is not None or options.label_smoothing:
            raise ConfigError("class_weight and label_smoothing need classes", field="adaptation")
        spread = target.y[rows].std(axis=0)
        head.centre_K.copy_(torch.from_numpy(target.y[rows].mean(axis=0)))
        head.spread_K.copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))
        return torch.from_numpy(target.y).to(like), None
    one_hot = F.one_hot(torch.from_numpy(target.y), target.n_outputs).to(like)
    if options.class_weight is None:
        return one_hot, None
    return one_hot, torch.from_numpy(class_weights(options.class_weight, target, rows)).to(like)


def class_weights(wanted: str | dict[str, float], target: Target, rows: np.ndarray) -> np.ndarray:
    """Weight of each class: given by name, or inverse to its frequency."""
    if isinstance(wanted, str):
        counts = np.bincount(target.y[rows], minlength=target.n_outputs)
        return len(rows) / (target.n_outputs * np.maximum(counts, 1))
    names = [str(name) for name in (target.names if target.names is not None else range(target.n_outputs))]
    for name in wanted:
        check_known(name, names, ConfigError, "no class {!r}", field="class_weight")
    return np.array([wanted.get(name, 1.0) for name in names])


def validation_loss(fit: Fit, examples: Examples, rows: np.ndarray, batch_size: int) -> float:
    """Mean loss over rows, in evaluation mode."""
    with evaluating(fit):
        chunks = list(batches(examples, rows, batch_size))
        return sum(float(fit(chunk)["loss"]) * len(chunk) for chunk in chunks) / len(rows)


def head_groups(head: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups of what trains in any module: matrices decay, vectors do not."""
    trained = [p for p in head.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
