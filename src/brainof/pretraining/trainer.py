"""The one training loop, of pretraining on windows, on pairs, and of every adaptation that has no closed form.

`Trainer.steps` is the step from batch to balance; whoever takes its steps logs, checks and saves between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import HealthError
from ..model import update_balance
from .optimizer import Schedule, learning_rate
from .threads import GradientThreads, Losses


@dataclass(frozen=True, eq=False)
class Step:
    """What a finished optimizer step tells; tensors stay on the device until somebody reads them.

    `number` counts the steps done, this one included; `losses` are those of each batch, without their graph; `norm` is
    that of the gradient before clipping; `balance` is what `update_balance` says of the experts.
    """

    number: int
    batches: list[Any]
    losses: list[Losses]
    lr: float
    norm: Tensor
    balance: dict[str, float]

    @property
    def loss(self) -> Tensor:
        """The loss that the step descended."""
        return sum((losses["loss"] for losses in self.losses), torch.zeros_like(self.norm))


class Trainer:
    """An objective and its optimizer, step by step.

    Parameters
    ----------
    objective : Module
        (batch, counts of the step, fraction of the steps done) -> losses, of which "loss" is descended; the losses of
        the batches of a step are added.
    optimizer : Optimizer
        Its groups may hold `lr_scale`, a factor on the learning rate.
    schedule : Schedule
        Steps, learning rate and warm-up.
    clip : float
        Largest norm of the gradient.
    accumulate : int
        Batches of a step. A batch that is None (nothing in it could be masked) is left out.
    balance_rate : float
        Step of the selection bias of the experts; 0 leaves it.
    bfloat16 : bool
        Forward passes in autocast.
    threads : int
        CPU threads that share the windows of a batch, see `GradientThreads`.
    """

    def __init__(
        self,
        objective: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        *,
        clip: float,
        accumulate: int = 1,
        balance_rate: float = 0.0,
        bfloat16: bool = False,
        threads: int = 1,
    ) -> None:
        self.objective, self.optimizer, self.schedule = objective, optimizer, schedule
        self.clip, self.accumulate, self.balance_rate = clip, accumulate, balance_rate
        self.bfloat16, self.threads = bfloat16, threads
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def steps(self, batches: Iterator[Any], start: int = 0) -> Generator[Step]:
        """The steps after the first `start` ones, to the last of the schedule; close it to end earlier.

        Batches have `counts` (name -> number) and `split(count)` where counts and threads are used.
        """
        with closing(GradientThreads(self.parameters, self.threads).open()) as team:
            for number in range(start, self.schedule.steps):
                chosen = [batch for batch in islice(batches, self.accumulate) if batch is not None]
                counts: Counter[str] = Counter()  # what losses are divided by
                for batch in chosen:
                    counts.update(getattr(batch, "counts", {}))
                lr = learning_rate(number, self.schedule)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr * group.get("lr_scale", 1.0)
                self.objective.train()
                progress = number / self.schedule.steps
                losses = [self._backward(team, batch, counts, progress) for batch in chosen]
                norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                balance = update_balance(self.objective, self.balance_rate)
                yield Step(number + 1, chosen, losses, lr, norm, balance)

    def _backward(self, team: GradientThreads, batch: Any, counts: Mapping[str, float], progress: float) -> Losses:
        """Add the gradient of a batch; returns its losses."""

        def losses_of(part: Any) -> Losses:
            with torch.autocast(self.parameters[0].device.type, torch.bfloat16, enabled=self.bfloat16):
                return self.objective(part, counts, progress)

        parts = batch.split(team.count) if team.count > 1 else [batch]
        losses = team.backward(parts, losses_of)
        return {name: torch.stack([part[name] for part in losses]).sum(0) for name in losses[0]}


def require_finite(steps: Sequence[Step]) -> None:
    """Refuse losses or gradients that are not finite; the only wait for the device between two logs.

    Raises
    ------
    HealthError
        Names the first such step and where its windows come from.
    """
    if not steps:
        return
    values = torch.stack([torch.stack([step.loss, step.norm.to(step.loss.dtype)]) for step in steps])
    finite = torch.isfinite(values).all(1).tolist()
    if not all(finite):
        step = steps[finite.index(False)]
        loss, norm = values[finite.index(False)].tolist()
        sources = "; ".join(getattr(batch, "source", "") for batch in step.batches)
        raise HealthError(
            f"loss {loss}, gradient norm {norm} at step {step.number}" + (f" ({sources})" if sources else ""),
            field="loss",
            fix="lower lr",
        )


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a precision means bfloat16 on a device; "auto" does where it multiplies in it by itself."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
