"""Threads that each do whole pieces of work alone, instead of meeting at the end of every operator."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


@contextlib.contextmanager
def operator_threads(count: int) -> Iterator[None]:
    """CPU threads of torch while it is open; 0 leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(function: Callable[[Job], Result], jobs: Iterable[Job], count: int) -> Iterator[Result]:
    """`map(function, jobs)` on `count` threads, in order; at most one job more than these is taken ahead.

    Operators use what is left of the processors (one each, as a rule); what was not begun when this is closed is
    dropped. Jobs are taken in the caller's thread, and with `count` 1 they also run in it, where operators keep their
    threads.
    """
    if count == 1:
        yield from map(function, jobs)
        return
    within = max(1, torch.get_num_threads() // count)
    with operator_threads(within):
        pool = ThreadPoolExecutor(count, "brainof", initializer=torch.set_num_threads, initargs=(within,))
        try:
            yield from (result for _, result in in_order(pool, function, jobs, count))
        finally:
            pool.shutdown(cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Job], Result], jobs: Iterable[Job], ahead: int
) -> Generator[tuple[Job, Result]]:
    """Each job with its result, in order; `ahead` jobs more than the one handed out are begun early."""
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    for job in jobs:
        waiting.append((job, pool.submit(function, job)))
        if len(waiting) > ahead:
            done, future = waiting.popleft()
            yield done, future.result()
    for done, future in waiting:
        yield done, future.result()
