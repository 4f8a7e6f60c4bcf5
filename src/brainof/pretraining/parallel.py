"""Ranks: which of how many processes this is, and the model as all of them train it, by torch's DDP and FSDP2.

The model knows nothing of ranks. Each takes its own batches of a step; gradients are *added* over ranks, because losses
are divided by the counts of the whole step. One small collective on the host begins a step: it adds up the counts and
tells all ranks alike whether the run was asked to stop, and it is where a rank that is lost or hangs is noticed.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from ..errors import BrainOFError, ConfigError, RankError
from ..model.backbone import Block
from ..model.experts import Experts
from ..model.sampler import CrossBlock
from ..utils.modules import seeded

Value = TypeVar("Value")

#: How long ranks that notice a failure wait for others to notice it, in tenths of a second
NOTICE_TENTHS = 20


@dataclass(frozen=True, eq=False)
class World:
    """The ranks of a run, and which of them this process is; alone by default."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    mesh: Any = None
    host: Any = None  # The group of what ranks tell each other on the host
    saving: Any = None  # That of threads that save
    store: Any = None  # A table that all ranks see
    timeout: float = 600.0  # Seconds after which a rank that does not answer counts as hanging

    @property
    def main(self) -> bool:
        """Whether this rank writes the run folder."""
        return self.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """The value of each rank, in order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with self.watched():
            dist.all_gather_object(found, value, group=self.host)
        return found

    def from_main(self, value: Callable[[], Value]) -> Value:
        """What the first rank finds; the others do not look."""
        return self.gather(value() if self.main else None)[0]  # type: ignore[return-value]

    def total(self, counts: Mapping[str, float]) -> dict[str, float]:
        """The sum of numbers over all ranks, which give the same names."""
        if self.size == 1:
            return dict(counts)
        names = sorted(counts)
        values = torch.tensor([float(counts[name]) for name in names], dtype=torch.float64)
        with self.watched():
            dist.all_reduce(values, group=self.host)
        return dict(zip(names, values.tolist(), strict=True))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Do something that may fail on some ranks: all of them then raise the error of the first that failed."""
        mine: BrainOFError | None = None
        try:
            yield
        except BrainOFError as error:
            mine = error
        for rank, failed in enumerate(self.gather(mine)):
            if failed is not None:
                failed.problem = f"{failed.problem} (rank {rank})" if rank else failed.problem
                raise failed.__reduce__()[0]()  # with the message of its new problem

    def reached(self, step: int) -> None:
        """Tell the others which step this rank works on."""
        if self.store is not None:
            self.store.set(f"step/{self.rank}", str(step))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Say which rank is lost or hangs, and in which step, where a collective fails."""
        try:
            yield
        except RuntimeError as error:
            words, text = ("gloo", "nccl", "connection closed", "connection reset", "timed out"), str(error).lower()
            if self.size == 1 or not (isinstance(error, dist.DistError) or any(word in text for word in words)):
                raise
            raise RankError(self._blame(error)) from error

    def _blame(self, error: RuntimeError) -> str:
        """What is wrong: the ranks that do not notice it are those that are lost or hang."""
        hangs = "timed out" in str(error).lower() or "timeout" in str(error).lower()
        how = f"did not answer for {self.timeout:g} s" if hangs else "ended"
        try:
            mine = int(self.store.get(f"step/{self.rank}"))
            self.store.set(f"noticed/{self.rank}", "")
            for _ in range(NOTICE_TENTHS):
                silent = [rank for rank in range(self.size) if not self.store.check([f"noticed/{rank}"])]
                time.sleep(0.1 if silent else 0)
            names = ", ".join(f"rank {rank} (step {int(self.store.get(f'step/{rank}'))})" for rank in silent)
        except (RuntimeError, ValueError):  # the first rank held the table
            return f"rank 0 ended; rank {self.rank} waited for it ({str(error).strip().splitlines()[0][:200]})"
        return f"{names or 'a rank'} {how}; rank {self.rank} waited for it in step {mine}"


@contextlib.contextmanager
def open_world(kind: str = "auto", timeout: float = 600.0) -> Iterator[World]:
    """The world that torchrun's environment describes (RANK, LOCAL_RANK, WORLD_SIZE); one process without it.

    A ConfigError for a process group that somebody else has initialised, or ranks that would share nothing.
    """
    if dist.is_available() and dist.is_initialized():
        text = f"pretrain makes its own process group, but one of {dist.get_world_size()} is initialised"
        fix = "start the ranks with torchrun, without a process group"
        raise ConfigError(text, field="torch.distributed", fix=fix)
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if size == 1:
        yield World(timeout=timeout)
        return
    if kind == "none":
        fix = "set parallel=ddp or parallel=fsdp"
        raise ConfigError(f"none, but there are {size} ranks", field="parallel", fix=fix)
    cuda = torch.cuda.is_available()
    from torch.distributed.device_mesh import init_device_mesh  # a second to import

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    wait = timedelta(seconds=timeout)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=wait)
    try:
        yield World(
            rank,
            size,
            device,
            init_device_mesh(device.type, (size,), mesh_dim_names=("rank",)),
            host=dist.new_group(backend="gloo", timeout=wait),
            saving=dist.new_group(backend="gloo", timeout=wait),
            store=dist.distributed_c10d._get_default_store(),
            timeout=timeout,
        )
    finally:
        dist.destroy_process_group()


def batches_of(per_step: int, ranks: int) -> tuple[int, int]:
    """Batches of a step that each rank takes, and ranks that share one; a ConfigError where they cannot evenly."""
    if per_step % ranks == 0:
        return per_step // ranks, 1
    if ranks % per_step == 0:
        return 1, ranks // per_step
    text, fix = f"{per_step} batches of a step among {ranks} ranks", f"give a multiple or a divisor of {ranks}"
    raise ConfigError(text, field="accumulate", fix=fix)


def prepare_blocks(model: nn.Module, *, recompute: bool = False, compiled: bool = False) -> None:
    """Recompute what is within each block in the backward pass, and compile all blocks; before they are shared.

    Compiled are those of the sampler and the decoders, too. On a CPU experts stay out of it: their rows change with
    every batch, and with them what would be compiled (docs/decisions/0105).
    """
    for module in model.modules():
        if recompute and isinstance(module, Block):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]
        if compiled and isinstance(module, (Block, CrossBlock)):
            module.compile()
        if compiled and isinstance(module, Experts) and module.router_ED.device.type == "cpu":
            plainly = torch.compiler.disable(_called)
            module.forward = partial(plainly, module.forward)  # type: ignore[method-assign]


def _called(forward: Callable[..., Any], *given: Any) -> Any:
    """What a forward pass gives; as a partial of it, a copy of the module calls its own."""
    return forward(*given)


def shared_by_ranks(objective: nn.Module, world: World, kind: str = "auto", *, bfloat16: bool = False) -> nn.Module:
    """The module to call in place of the objective, so that `backward` adds gradients over ranks.

    `kind` is that of `PretrainConfig.parallel`. "fsdp" changes the objective in place: its parameters become DTensors,
    of which each rank holds a part. With `bfloat16` its blocks, which hold nearly all weights, are sent in bfloat16;
    every rank's parts, gradients that are added and what is outside of blocks stay in float32.
    """
    if world.size == 1:
        return objective
    for parameter in cast("Any", getattr(objective, "unreached", list))():
        parameter.requires_grad_(False)  # no rank is to wait for its gradient
    if kind in ("auto", "ddp"):
        # every step reaches every parameter that is trained, whatever its modality and the experts that were chosen, so
        # none is looked for; buffers stay apart: the counts of the experts are reduced by `move_biases`
        renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters  # torch 2.13
        apart: dict[str, Any] = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
        replica = DistributedDataParallel(objective, gradient_as_bucket_view=True, **apart)
        replica.register_comm_hook(None, _add)
        return replica
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    from .expert_parallel import spread_experts

    spread = set(spread_experts(objective, world.device, world.size)) if kind == "fsdp_ep" else None
    blocks = [module for module in objective.modules() if isinstance(module, Block)]
    # inputs are not cast: what blocks add to stays in float32, as it does under autocast alone
    short = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for module in (*blocks, objective):
        policy = short if bfloat16 and module is not objective else MixedPrecisionPolicy()
        sharded = fully_shard(module, mesh=world.mesh["rank"], ignored_params=spread, mp_policy=policy)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no mean
        if hasattr(sharded, "set_reduce_scatter_unused_params"):  # torch 2.13
            sharded.set_reduce_scatter_unused_params(True)
    return objective


def draw_parts(model: nn.Module, world: World, seed: int) -> None:
    """Memory and random weights for the parts of a model that was made, and shared, on the meta device.

    Each rank draws its own part, so the weights depend on the number of ranks, as those of a whole start do not.
    """
    spread = {name: p.spread for name, p in model.named_parameters() if hasattr(p, "spread")}
    model.to_empty(device=world.device)
    with seeded(int(np.random.SeedSequence([seed, world.rank]).generate_state(1)[0])):
        model.init_weights()  # type: ignore[operator]
    for name, parameter in model.named_parameters():
        if name in spread:
            parameter.spread = spread[name]  # type: ignore[attr-defined]
            dist.broadcast(parameter.data, group=spread[name].get_group("copy"), group_src=0)


def _add(_, bucket):  # type: ignore[no-untyped-def]  # DDP refuses annotations that are text
    # gradients are added: a factor on the loss would not do instead, since some of them are normalised
    reduced = dist.all_reduce(bucket.buffer(), async_op=True)
    return reduced.get_future().then(lambda future: future.value()[0])


@contextlib.contextmanager
def reducing(module: nn.Module, last: bool) -> Iterator[None]:
    """Add gradients over ranks in the last backward pass of a step alone."""
    if (switch := getattr(module, "set_requires_gradient_sync", None)) is not None:  # fully_shard
        cast("Any", switch)(last)
    with contextlib.nullcontext() if last or not isinstance(module, DistributedDataParallel) else module.no_sync():
        yield
    for part in spread_parts(module.parameters()) if last else ():  # of ranks that hold the same experts
        mesh: Any = part.spread  # type: ignore[attr-defined]
        if mesh.size(0) > 1:
            part.grad = torch.zeros_like(part) if part.grad is None else part.grad
            dist.all_reduce(part.grad, group=mesh.get_group("copy"))


def clip_gradients(parameters: Sequence[nn.Parameter], most: float) -> Tensor:
    """Scale all gradients so that their norm is at most `most`; returns what it was, over all ranks and parts."""
    parts, norm_of = spread_parts(parameters), nn.utils.get_total_norm
    if not parts:
        norm: Any = norm_of([p.grad for p in parameters if p.grad is not None])
        if not (on_host(norm) and norm <= most):  # else all would be multiplied by one
            nn.utils.clip_grads_with_norm_(parameters, most, norm)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    rest: Any = norm_of([p.grad for p in parameters if p.grad is not None and not hasattr(p, "spread")])
    square = norm_of([p.grad for p in parts if p.grad is not None]).square()
    dist.all_reduce(square, group=parts[0].spread.get_group("expert"))  # type: ignore[attr-defined]
    norm = (square + rest.full_tensor().square()).sqrt()
    held = own_parts(p.grad for p in parameters if p.grad is not None)
    torch._foreach_mul_(held, (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


def on_host(value: Tensor) -> bool:
    """Whether a value can be looked at without waiting for a device, or for other ranks."""
    return value.device.type == "cpu" and not hasattr(value, "full_tensor")


def own_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this rank holds of each."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def spread_parts(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those of experts of which each rank has its own."""
    return [parameter for parameter in parameters if hasattr(parameter, "spread")]


@contextlib.contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Each rank with all parameters, so that methods other than `forward` can be called; all ranks together."""
    parts: list[Any] = [part for part in module.modules() if hasattr(part, "unshard")]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
