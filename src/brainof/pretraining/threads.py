"""Gradients of one optimizer step on several processor threads: each thread takes some windows and works alone.

Threads inside an operator meet at the end of every operator, thousands of times a step, and a small model has little
for them to share in between. Threads that each take a part of the windows meet once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from ..threads import operators_apart

Job = TypeVar("Job")
Result = TypeVar("Result")


class GradientThreads:
    """Sums gradients of jobs that run side by side on one model.

    While it is open, operators use what is left of the processors (one thread each, as a rule).

    Parameters
    ----------
    parameters : sequence of Parameter
        What gradients are taken of.
    count : int
        Threads; with 1 the jobs run one after the other in the caller's thread, and operators keep their own threads.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], count: int) -> None:
        self.parameters, self.count = list(parameters), max(1, count)
        self._pool: ThreadPoolExecutor | None = None
        self._opened = ExitStack()

    def open(self) -> Self:
        """Start the threads."""
        if self.count > 1:
            self._pool = self._opened.enter_context(operators_apart(self.count, "gradients"))
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
        if self._pool is None:
            results = []
            for job in jobs:
                value, rest = loss(job)
                value.backward()
                results.append((value.item(), rest))
            return results
        trained = [parameter for parameter in self.parameters if parameter.requires_grad]

        def run(job: Job) -> tuple[float, Result, tuple[Tensor | None, ...]]:
            value, rest = loss(job)
            return value.item(), rest, torch.autograd.grad(value, trained, allow_unused=True)

        results = []
        for number, rest, gradients in self._pool.map(run, jobs):
            results.append((number, rest))
            fresh, held, added = [], [], []
            for parameter, gradient in zip(trained, gradients, strict=True):
                if gradient is None:
                    continue
                if parameter.grad is None:
                    fresh.append((parameter, gradient))
                else:
                    held.append(parameter.grad)
                    added.append(gradient)
            for parameter, gradient in fresh:
                parameter.grad = gradient
            if held:
                torch._foreach_add_(held, added)
        return results
