"""Loader: SignalBatches in the sampler's order, read ahead in the background, resumable from two integers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import torch

from ..errors import ConfigError
from ..signals import SignalBatch
from .sampler import BatchSampler
from .windows import Windows


class Loader:
    """Iterate over batches of a corpus, for ever (`iter`) or to the end of an epoch (`epoch`).

    The position counts batches that were handed out, whatever was read ahead, so a loader that starts at the saved
    position continues with the very next batch.

    Parameters
    ----------
    corpus : Corpus or Corpora
        Where the windows are.
    sampler : BatchSampler
        The order.
    patch : int, optional
        Patch length in samples; that of the sampler when left out.
    start : (int, int)
        Epoch and batch to start with.
    prefetch : int
        Batches read ahead; 0 reads when asked.
    threads : int
        Threads that read ahead. The order does not depend on them.
    dtype : torch.dtype
        Of the signal; float16 leaves the cast to the device.

    Attributes
    ----------
    position : (int, int)
        Epoch and batch that come next.
    waited : float
        Seconds spent waiting for data so far.
    """

    def __init__(
        self,
        corpus: Windows,
        sampler: BatchSampler,
        patch: int | None = None,
        start: tuple[int, int] = (0, 0),
        *,
        prefetch: int = 2,
        threads: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.corpus, self.sampler, self.patch = corpus, sampler, patch or sampler.patch
        self.prefetch, self.threads, self.dtype = prefetch, threads, dtype
        self.waited = 0.0
        self.load_state_dict({"epoch": start[0], "batch": start[1]})

    def __iter__(self) -> Iterator[SignalBatch]:
        return self._batches(last_epoch=None)

    def epoch(self) -> Iterator[SignalBatch]:
        """What is left of the current epoch."""
        return self._batches(last_epoch=self.position[0])

    def state_dict(self) -> dict[str, int]:
        """The position, to be given to `load_state_dict` of a loader over the same corpus and sampler."""
        return {"epoch": self.position[0], "batch": self.position[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved position; iterators that were made before are not moved.

        Raises
        ------
        ConfigError
            The position lies outside the sampler's epochs.
        """
        epoch, batch = int(state["epoch"]), int(state["batch"])
        if epoch < 0 or not 0 <= batch <= len(self.sampler):
            raise ConfigError(
                f"epoch {epoch}, batch {batch} in epochs of {len(self.sampler)} batches",
                field="position",
                fix="the corpus or the sampler's settings changed; continue with those the position was saved with",
            )
        self.position = self._normal(epoch, batch)

    def _normal(self, epoch: int, batch: int) -> tuple[int, int]:
        return (epoch + 1, 0) if batch == len(self.sampler) else (epoch, batch)

    def _planned(self, last_epoch: int | None) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """The position after each batch, and the batch's rows."""
        epoch, first = self.position
        while last_epoch is None or epoch <= last_epoch:
            plan = self.sampler.plan(epoch)
            for number in range(first, len(plan)):
                yield self._normal(epoch, number + 1), plan[number].tolist()
            epoch, first = epoch + 1, 0

    def _read(self, rows: list[int]) -> SignalBatch:
        return self.corpus.batch(rows, self.patch, self.dtype)

    def _batches(self, last_epoch: int | None) -> Iterator[SignalBatch]:
        planned = self._planned(last_epoch)
        if not self.prefetch:
            for position, rows in planned:
                begun = time.perf_counter()
                batch = self._read(rows)
                self.waited += time.perf_counter() - begun
                self.position = position
                yield batch
            return
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="brainof-loader")
        try:
            ahead: deque[tuple[tuple[int, int], Future[SignalBatch]]] = deque()
            while True:
                for position, rows in islice(planned, self.prefetch + 1 - len(ahead)):
                    ahead.append((position, pool.submit(self._read, rows)))
                if not ahead:
                    return
                position, future = ahead.popleft()
                begun = time.perf_counter()
                batch = future.result()  # an error in the background is raised here
                self.waited += time.perf_counter() - begun
                self.position = position
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
