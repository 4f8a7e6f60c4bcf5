"""Gradients of one optimizer step on several processor threads: each thread takes some windows and works alone.

Threads inside an operator meet at the end of every operator, thousands of times a step, and a small model has little
for them to share in between. Threads that each take a part of the windows meet once.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from ..utils.threads import operators_apart

Job = TypeVar("Job")
Result = TypeVar("Result")

#: Options of glibc's `mallopt`, and what they are set to: how much free memory at the top is kept, and the size from
#: which memory is mapped and unmapped each time (the most that glibc accepts)
M_TRIM_THRESHOLD, KEPT = -1, 256 << 20
M_MMAP_THRESHOLD, MAPPED_FROM = -3, 32 << 20


def keep_freed_memory() -> None:
    """Let the allocator keep what a step frees for the next step, where the C library is glibc.

    Otherwise each step gives memory back and gets it again page by page, which the kernel clears first: 11,000 pages
    and 8 % of the time of a step of `tiny`.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
        libc.mallopt(M_MMAP_THRESHOLD, MAPPED_FROM)


class GradientThreads:
    """Sums gradients of jobs that run side by side on one model.

    While it is open, operators of a job use what is left of the processors (one thread each, as a rule); those of the
    caller, who waits for the jobs, use all of them.

    Parameters
    ----------
    parameters : sequence of Parameter
        What receives gradients.
    count : int
        Threads; with 1 the jobs run one after the other in the caller's thread, and operators keep their own threads.
    leaves : sequence of Parameter, optional
        What stands for each parameter in the jobs (see `cast.CastModel`); the parameters themselves without it.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], count: int, leaves: Sequence[nn.Parameter] | None = None
    ) -> None:
        self.parameters, self.count = list(parameters), max(1, count)
        self.leaves = self.parameters if leaves is None else list(leaves)
        self._pool: ThreadPoolExecutor | None = None
        self._opened = ExitStack()
        # the sums stay where they are from step to step: fresh memory costs more than the sum
        self._sums: dict[nn.Parameter, Tensor] = {}

    def open(self) -> Self:
        """Start the threads."""
        keep_freed_memory()
        if self.count > 1:
            self._pool = self._opened.enter_context(operators_apart(self.count, "gradients", caller_waits=True))
        return self

    def close(self) -> None:
        """End the threads."""
        self._pool = None
        self._opened.close()

    def backward(self, jobs: Sequence[Job], loss: Callable[[Job], tuple[Tensor, Result]]) -> list[tuple[float, Result]]:
        """Add the gradients of the jobs' losses to `.grad`, always in the order of the jobs.

        The result does not depend on which thread is done first.

        Parameters
        ----------
        jobs : sequence
            What the threads take, one each at a time.
        loss : callable
            Job -> (loss, anything else without a graph). Autocast and the like belong inside: they are per thread.

        Returns
        -------
        list of (float, anything)
            Loss and the rest, in the order of the jobs.
        """
        pairs = zip(self.parameters, self.leaves, strict=True)
        trained = [(parameter, leaf) for parameter, leaf in pairs if leaf.requires_grad]

        def run(job: Job) -> tuple[float, Result, tuple[Tensor | None, ...]]:
            value, rest = loss(job)
            gradients = torch.autograd.grad(value, [leaf for _, leaf in trained], allow_unused=True)
            return value.item(), rest, gradients

        results = []
        for number, rest, gradients in (map if self._pool is None else self._pool.map)(run, jobs):
            results.append((number, rest))
            self._add([parameter for parameter, _ in trained], gradients)
        return results

    @torch.no_grad()
    def _add(self, parameters: list[nn.Parameter], gradients: tuple[Tensor | None, ...]) -> None:
        """Add to `.grad`, in the precision of the parameter."""
        held: list[Tensor] = []
        added: list[Tensor] = []
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                if parameter not in self._sums:
                    self._sums[parameter] = torch.empty_like(parameter)
                parameter.grad = self._sums[parameter].copy_(gradient)
            else:
                held.append(parameter.grad)
                added.append(gradient)
        if held:
            torch._foreach_add_(held, added)
