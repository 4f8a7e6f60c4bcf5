"""Gradients of one optimizer step on several CPU threads, each of which takes some windows and works alone.

Own code, because threads inside an operator meet at the end of each of the 3,000 operators of a step of `tiny`: on two
cores 60 windows/s that way, 102 this way (docs/decisions/0010). Many processes (DDP) use one thread each instead.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

Job = TypeVar("Job")
Losses = dict[str, Tensor]


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
    """Sums the gradients of `parameters` over jobs that run side by side on `count` threads; `close` ends them.

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
            gradients = torch.autograd.grad(losses["loss"], self.parameters, allow_unused=True)
            return _detached(losses), gradients

        found = []
        if self.count == 1:
            for job in jobs:
                losses = losses_of(job)
                losses["loss"].backward()
                found.append(_detached(losses))
            return found
        for losses, gradients in self._pool.map(run, jobs):
            found.append(losses)
            self._add(gradients)
        return found

    @torch.no_grad()
    def _add(self, gradients: Sequence[Tensor | None]) -> None:
        held: list[tuple[Tensor, Tensor]] = []
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = gradient.clone()  # several parameters may have been given one tensor
            else:
                held.append((parameter.grad, gradient))
        if held:
            torch._foreach_add_(*map(list, zip(*held, strict=True)))


def _detached(losses: Losses) -> Losses:
    return {name: value.detach() for name, value in losses.items()}
