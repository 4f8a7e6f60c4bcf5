"""Loader: SignalBatches in the sampler's order, read ahead in the background, resumable from two integers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..signals import SignalBatch
from ..utils.threads import Job, Result, in_order
from .augment import AugmentConfig, augment
from .sampler import BatchSampler, numbers
from .windows import Windows

#: Number of a batch through all epochs, and its rows
_Planned = tuple[int, list[int]]

#: Batches whose shards are asked for ahead of time where the corpus is remote
LOOK_AHEAD = 16

#: (batch, epoch, number of the batch in the epoch) -> what is handed out
Transform = Callable[[SignalBatch, int, int], Any]


def ahead(
    read: Callable[[Job], Result], jobs: Iterator[Job], prefetch: int = 2, threads: int = 1
) -> Generator[tuple[Job, Result]]:
    """Each job with what `read` makes of it, in order; `prefetch` jobs more than the one handed out are read early.

    Jobs run on `threads` threads, whose errors are raised here; with `prefetch` 0 they run when asked, in the caller's.
    """
    if not prefetch:
        yield from ((job, read(job)) for job in jobs)
        return
    pool = ThreadPoolExecutor(threads, "brainof-loader", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from in_order(pool, read, jobs, prefetch)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Loader:
    """Iterate over batches of a corpus, for ever.

    The position counts batches that were handed out, whatever was read ahead, of all ranks together: each rank takes
    every `world`-th one, and any other number of ranks can go on from there.

    Parameters
    ----------
    prefetch, threads : int
        Batches read ahead (0 reads when asked), and threads that do so; the order does not depend on them.
    device : torch.device or str
        Where batches are handed out. To any but the processor the signal travels as float16, as it is stored, and is
        cast there: half the bytes, and not a value changed. Augmented windows travel as `dtype`: they would be
        rounded. Batches for a CUDA device travel from pinned memory, without waiting.
    rank, world : int
        Which of how many processes this is.
    augmentation : AugmentConfig, optional
        Changes that windows get, a pure function of (the sampler's seed, epoch, row).
    transform : callable, optional
        (batch, epoch, number of the batch in the epoch) -> what is handed out in its place, such as a masked batch:
        None, or a dataclass of tensors with a method `to`. It runs in the threads that read ahead, on the host.

    Attributes: `position`, the epoch and batch that come next; `waited`, the seconds spent waiting for data so far.
    """

    def __init__(
        self,
        corpus: Windows,
        sampler: BatchSampler,
        *,
        prefetch: int = 2,
        threads: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        augmentation: AugmentConfig | None = None,
        transform: Transform | None = None,
    ) -> None:
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} of {world}", field="rank", fix="ranks are numbered from 0")
        self.corpus, self.sampler = corpus, sampler
        self.prefetch, self.threads, self.dtype = prefetch, threads, dtype
        self.device, self.rank, self.world = torch.device(device), rank, world
        self.augmentation = augmentation if augmentation is not None and augmentation.active else None
        self.transform = transform
        self.waited = 0.0
        self.position = (0, 0)

    def state_dict(self) -> dict[str, int]:
        """The position, to be given to `load_state_dict` of a loader over the same corpus and sampler."""
        return {"epoch": self.position[0], "batch": self.position[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved position; a ConfigError where it lies outside the sampler's epochs."""
        epoch, batch = int(state["epoch"]), int(state["batch"])
        if epoch < 0 or not 0 <= batch <= len(self.sampler):
            problem = f"epoch {epoch}, batch {batch} in epochs of {len(self.sampler)} batches"
            fix = "the corpus or the sampler's settings changed; continue with those the position was saved with"
            raise ConfigError(problem, field="position", fix=fix)
        self.position = (epoch + 1, 0) if batch == len(self.sampler) else (epoch, batch)

    def _planned(self) -> Iterator[_Planned]:
        """The batches of this rank from the position on."""
        length = len(self.sampler)
        epoch, plan = -1, []
        for number in numbers(self.position[0] * length + self.position[1], self.rank, self.world):
            if number // length != epoch:
                epoch = number // length
                plan = self.sampler.plan(epoch)
            yield number, plan[number % length].tolist()

    def _announced(self, planned: Iterator[_Planned]) -> Iterator[_Planned]:
        """The same batches; the corpus hears of them LOOK_AHEAD batches before they are read."""
        queue: deque[_Planned] = deque()
        for item in planned:
            queue.append(item)
            self.corpus.read_ahead(item[1])
            if len(queue) > LOOK_AHEAD:
                yield queue.popleft()
                for waiting in queue:  # what there was no room for is asked for again, the nearest first
                    self.corpus.read_ahead(waiting[1])

    def _read(self, planned: _Planned) -> Any:
        (epoch, number), rows, patch = divmod(planned[0], len(self.sampler)), planned[1], self.sampler.patch
        if self.augmentation is None:
            batch = self.corpus.batch(rows, patch, self.dtype if self.device.type == "cpu" else torch.float16)
        else:
            batch = augment(self.corpus.batch(rows, patch), self.augmentation, self.sampler.seed, epoch, patch)
            batch = replace(batch, signal_BCT=batch.signal_BCT.to(self.dtype))
        made = batch if self.transform is None else self.transform(batch, epoch, number)
        return _pinned(made) if self.device.type == "cuda" and made is not None else made

    def __iter__(self) -> Generator[Any]:
        planned = self._announced(self._planned()) if self.corpus.remote else self._planned()
        turn = self.position[0] * len(self.sampler) + self.position[1]
        with closing(ahead(self._read, planned, self.prefetch, self.threads)) as read:
            while True:
                begun = time.perf_counter()
                _, made = next(read)
                self.waited += time.perf_counter() - begun
                turn += self.world
                self.position = divmod(turn, len(self.sampler))
                yield on_device(made, self.device, self.dtype)


def on_device(batch: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """What was read, on a device; the signal of a plain batch travels as it is and is cast to `dtype` there."""
    if batch is not None and device.type != "cpu":
        batch = batch.to(device, non_blocking=True)  # returns early from pinned memory only
    return replace(batch, signal_BCT=batch.signal_BCT.to(dtype)) if isinstance(batch, SignalBatch) else batch


def _pinned(batch: Any) -> Any:
    """A dataclass of tensors with all of them in pinned memory."""
    if isinstance(batch, Tensor):
        return batch.pin_memory()
    if not is_dataclass(batch):
        return batch
    return replace(batch, **{entry.name: _pinned(getattr(batch, entry.name)) for entry in fields(batch)})  # type: ignore[type-var]
