"""The one training loop, of pretraining on windows, on pairs, and of every adaptation that has no closed form.

`Trainer.steps` is the step from batch to balance; whoever takes its steps logs, checks and saves between them.
"""

from __future__ import annotations

import copy
import ctypes
import math
import platform
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..errors import ConfigError, HealthError
from ..model import BrainOF, move_biases
from .config import PretrainConfig
from .parallel import World, clip_gradients, own_parts, reducing

Job = TypeVar("Job")
Losses = dict[str, Tensor]


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


#: Options of glibc's `mallopt`, and what they are set to: how much free memory at the top is kept, and the size from
#: which memory is mapped and unmapped each time
M_TRIM_THRESHOLD, KEPT = -1, 256 << 20
M_MMAP_THRESHOLD, MAPPED_FROM = -3, 32 << 20


def keep_freed_memory() -> None:
    """Let what a step frees stay with the process, where the C library is glibc (docs/decisions/0096)."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
        libc.mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)


class GradientThreads:
    """Sums the gradients of `parameters` over jobs that run side by side on `count` CPU threads; `close` ends them.

    Own code, because threads inside an operator meet at the end of each of the 3,000 operators of a step of `tiny`: on
    two cores 60 windows/s that way, 102 this way (docs/decisions/0010). Many processes (DDP) use one thread each.

    Operators of a job use what is left of the processors (one thread each, as a rule). With one thread the jobs run in
    the caller's by a plain `backward`, whose hooks DDP and FSDP need.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], count: int) -> None:
        keep_freed_memory()
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.count, self._before = count, torch.get_num_threads()
        within = max(1, self._before // count)
        self._pool = ThreadPoolExecutor(count, "gradients", initializer=torch.set_num_threads, initargs=(within,))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._before)  # what a thread sets is what new ones begin with

    def backward(self, jobs: Sequence[Job], losses_of: Callable[[Job], Losses]) -> list[Losses]:
        """Add the gradients of the jobs' losses to `.grad`; returns the losses of each, without their graph.

        `losses_of` makes the losses of a job, of which "loss" is descended; autocast and the like belong inside, since
        they are per thread. Gradients are added in the order of the jobs: `backward` in several threads would add them
        in the order of their ends, and resume would not be exact.
        """

        def run(job: Job) -> tuple[Losses, tuple[Tensor | None, ...]]:
            losses = losses_of(job)
            gradients: tuple[Tensor | None, ...] = ()
            if self.count == 1:
                losses["loss"].backward()
            else:
                gradients = torch.autograd.grad(losses["loss"], self.parameters, allow_unused=True)
            return {name: value.detach() for name, value in losses.items()}, gradients

        if self.count == 1:
            return [run(job)[0] for job in jobs]
        found = []
        for losses, gradients in self._pool.map(run, jobs):
            found.append(losses)
            held: list[tuple[Tensor, Tensor]] = []
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                if gradient is not None and parameter.grad is not None:
                    held.append((parameter.grad, gradient))
                elif gradient is not None:
                    parameter.grad = gradient.clone()  # several parameters may have been given one tensor
            if held:
                torch._foreach_add_(*map(list, zip(*held, strict=True)))
        return found


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
