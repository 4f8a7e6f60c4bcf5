"""The one training loop, of pretraining on windows, on pairs, and of every adaptation that has no closed form.

`Trainer.steps` is the step from batch to balance; whoever takes its steps logs, checks and saves between them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import HealthError
from ..model import move_biases
from .optimizer import Average, Schedule, learning_rate
from .parallel import World, clip_gradients, reducing
from .threads import GradientThreads, Losses


@dataclass(frozen=True, eq=False)
class Step:
    """What a finished optimizer step tells; tensors stay on the device until somebody reads them."""

    number: int  # Of the steps done, this one included
    batches: list[Any]
    losses: list[Losses]  # Of each batch, without their graph
    lr: float
    norm: Tensor  # Of the gradient before clipping
    load_LME: Tensor | None  # Tokens that each expert was sent; None without experts
    source: str = ""  # Where the windows come from
    stop: bool = False  # Whether the run was asked to end
    latents_BLD: Tensor | None = None  # Of the last batch, where the objective tells them

    @property
    def numbers(self) -> Step:
        """What is left to be read later: without batches, latents and loads, so that what waits for a log is small."""
        return replace(self, batches=[], load_LME=None, latents_BLD=None)

    @property
    def loss(self) -> Tensor:
        """The part of this rank in the loss that the step descended."""
        return sum((losses["loss"] for losses in self.losses), torch.zeros_like(self.norm))


class Trainer:
    """An objective and its optimizer, step by step.

    `objective`: (batch, counts of the step, fraction of the steps done) -> losses, of which "loss" is descended; those
    of the batches of a step are added. "latents" (rows of windows) may be among them. Where ranks (`world`) share a
    step, `replica` is called in its place (`parallel.shared_by_ranks`).
    `optimizer`: its groups may hold `lr_scale`, a factor on the learning rate.
    `clip`: largest norm of the gradient.
    `accumulate`: batches of a step, on each rank; one that is None (nothing in it could be masked) is left out.
    `balance_rate`: step of the selection bias of the experts; 0 leaves it.
    `threads`: CPU threads that share the windows of a batch (`GradientThreads`).
    `average`: of the weights, which takes in each step.
    `asked_to_stop`: whether to end after the step at hand; when one rank is asked, all learn of it in the same step.
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
        world: World | None = None,
        replica: nn.Module | None = None,
        average: Average | None = None,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.objective, self.optimizer, self.schedule = objective, optimizer, schedule
        self.clip, self.accumulate, self.balance_rate = clip, accumulate, balance_rate
        self.bfloat16, self.threads = bfloat16, threads
        self.world, self.replica = world or World(), objective if replica is None else replica
        self.average, self.asked_to_stop = average, asked_to_stop
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def steps(self, batches: Iterator[Any], start: int = 0) -> Generator[Step]:
        """The steps after the first `start` ones, to the last of the schedule; close it to end earlier.

        Batches have `counts` (name -> number) and `split(count)` where counts and threads are used.
        """
        with closing(GradientThreads(self.parameters, self.threads)) as team:
            for number in range(start, self.schedule.steps):
                chosen = [batch for batch in islice(batches, self.accumulate) if batch is not None]
                with self.world.watched():
                    step = self._step(team, chosen, number)
                yield step

    def _step(self, team: GradientThreads, batches: list[Any], number: int) -> Step:
        self.world.reached(number + 1)
        counts: Counter[str] = Counter()  # what losses are divided by
        for batch in batches:
            counts.update(getattr(batch, "counts", {}))
        total = self.world.total({**counts, "stop": self.asked_to_stop()})
        stop = total.pop("stop") > 0
        lr = learning_rate(number, self.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        self.objective.train()

        def losses_of(part: Any) -> Losses:
            with torch.autocast(self.parameters[0].device.type, torch.bfloat16, enabled=self.bfloat16):
                return self.replica(part, total, number / self.schedule.steps)

        losses: list[Losses] = []
        latents_BLD = None
        for place, batch in enumerate(batches, 1):
            with reducing(self.replica, last=place == len(batches)):
                found = team.backward(batch.split(team.count) if team.count > 1 else [batch], losses_of)
            parts = {name: [part[name] for part in found] for name in found[0]}
            # what the parts of a batch are together: the sum of numbers, rows one after the other
            losses.append({k: torch.cat(v) if v[0].ndim else torch.stack(v).sum(0) for k, v in parts.items()})
            latents_BLD = losses[-1].pop("latents", None)
        norm = clip_gradients(self.parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        load_LME = move_biases(self.objective, self.balance_rate)
        if self.world.size == 1:  # nobody else needs to know
            stop = self.asked_to_stop()
        source = "; ".join(getattr(batch, "source", "") for batch in batches)
        return Step(number + 1, batches, losses, lr, norm, load_LME, source, stop, latents_BLD)


#: Number, loss, gradient norm and source of a step that is not finite
Bad = tuple[int, float, float, str]


def require_finite(steps: Sequence[Step]) -> None:
    """A HealthError where a loss or gradient is not finite: names the first such step and its windows."""
    refuse([first_not_finite(steps)])


def refuse(first: Sequence[Bad | None]) -> None:
    """As `require_finite`, of the first such step of each rank."""
    found = [each for each in first if each is not None]
    if not found:
        return
    number = min(step for step, *_ in found)
    here = [each for each in found if each[0] == number]
    own = [each for each in here if not math.isfinite(each[1])]  # a bad gradient is on all ranks, its loss is not
    _, loss, norm, _ = (own or here)[0]
    sources = "; ".join(source for *_, source in own or here if source)
    text = f"loss {loss}, gradient norm {norm} at step {number}" + (f" ({sources})" if sources else "")
    raise HealthError(text, field="loss", fix="lower lr")


def first_not_finite(steps: Sequence[Step]) -> Bad | None:
    """The first step of this rank that is not finite; the only wait for the device between two logs."""
    if not steps:
        return None
    values = torch.stack([torch.stack([step.loss, step.norm.to(step.loss.dtype)]) for step in steps])
    for step, (loss, norm) in zip(steps, values.tolist(), strict=True):
        if not math.isfinite(loss + norm):
            return step.number, loss, norm, step.source
    return None


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a precision means bfloat16 on a device; "auto" does where it multiplies in it by itself."""
    return multiplies_in_bfloat16(device) if precision == "auto" else precision == "bfloat16"


def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Whether a device does by itself; others emulate it, which takes many times as long as float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
