"""Engines: the same recordings prepared one after the other, by local Dask workers, or by Dask workers under SLURM.

What an engine reports is only good for progress: the state of a recording is judged from the disk (`run.judge`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

from ..corpus import CorpusWriter
from ..errors import ConfigError, check_known
from ..utils.memory import memory_budget
from ..utils.optional import optional
from .discover import Found
from .job import Job

logger = logging.getLogger(__name__)

ENGINES = ("serial", "dask", "slurm")

#: Serial: seconds of work after which what was prepared is committed, though the shard is not full
COMMIT_SECONDS = 20.0
#: Variables that keep numerical libraries at one thread: recordings are what is done in parallel
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
#: Dask restarts a worker at so many times the memory it was asked to stay below
ROOM = 1.5
#: Reason of a recording that took its worker with it, twice
KILLED = "its worker died while preparing it (killed, out of memory, or a crash in a reader)"

#: A recording and the hash under which it should be in the corpus (None where that could not be told)
Task = tuple[Found, str | None]
Record = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """How recordings are shared out; ConfigError for an unknown engine, or a number of workers that it cannot have."""

    name: str = "serial"  # Of ENGINES
    workers: int = 1  # Processes; jobs under SLURM
    memory: int | None = None  # Bytes that one worker may use
    # for SLURM; what is not given comes from Dask's own configuration (`jobqueue.slurm`)
    queue: str | None = None
    account: str | None = None
    walltime: str | None = None

    def __post_init__(self) -> None:
        check_known(self.name, ENGINES, ConfigError, field="engine")
        if self.workers < 1 or (self.name == "serial" and self.workers > 1):
            fix = "serial means one worker; use engine='dask'" if self.workers > 1 else "give a number above 0"
            raise ConfigError(f"{self.workers}", field="workers", fix=fix)

    def run(
        self, job: Job, out: str | PathLike[str], tasks: Sequence[Task], to_run_alone: Set[str] = frozenset()
    ) -> Iterator[Record]:
        """Prepare recordings into the corpus `out`; yields a record (see `Job.run`) as each is finished, in any order.

        Before one of `to_run_alone` (recordings over which a process died) is begun, all others are committed. Raises
        DependencyError: the engine's package is not installed; StorageError: the corpus cannot be written.
        """
        if self.name != "serial":
            yield from self._on_cluster(job, out, tasks)
            return
        with CorpusWriter(out) as writer:
            committed = time.monotonic()
            for task in tasks:
                if task[0].name in to_run_alone or time.monotonic() - committed > COMMIT_SECONDS:
                    writer.flush()
                    committed = time.monotonic()
                with memory_budget(self.memory, writer.root / "shards"):
                    record = job.run(task[0], writer, task[1])
                yield record

    def _on_cluster(self, job: Job, out: str | PathLike[str], tasks: Sequence[Task]) -> Iterator[Record]:
        """One Dask task per recording."""
        optional("distributed", "dask", f"engine='{self.name}'")
        from distributed import Client

        work = partial(prepare_and_commit, job, out, self.memory)
        with self._cluster() as cluster, Client(cluster) as client:
            # those that a dead worker held are tried once more, one at a time: who crashes it again is given up
            to_retry_alone = yield from _finished(client, work, tasks)
            for task in to_retry_alone:
                crashed = yield from _finished(client, work, [task])
                for found, config in crashed:
                    logger.warning("%s: %s", found.name, KILLED)
                    with CorpusWriter(out) as writer:
                        writer.record_failure(job.identity(found.name), KILLED)
                    yield {"recording": found.name, "config": config, "reason": KILLED, "notes": []}

    def _cluster(self) -> Any:
        """The Dask cluster of this engine, with its workers asked for."""
        import dask
        from distributed import LocalCluster

        # no retries: a file that crashes its worker would crash the next; a worker holds one task at a time, so that
        # few have to be tried again
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0})
        if self.name == "slurm":
            cluster = self._slurm()
            cluster.scale(jobs=self.workers)
            return cluster
        return LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            memory_limit="auto" if self.memory is None else round(ROOM * self.memory),
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            env=ONE_THREAD,
        )

    def _slurm(self) -> Any:
        jobqueue = optional("dask_jobqueue", "dask", "engine='slurm'")
        given = {"queue": self.queue, "account": self.account, "walltime": self.walltime}
        return jobqueue.SLURMCluster(
            cores=1,
            processes=1,
            memory=f"{round(ROOM * self.memory) if self.memory is not None else 8 * 10**9} B",
            python=sys.executable,
            job_script_prologue=[f"export {name}={value}" for name, value in ONE_THREAD.items()],
            scheduler_options={"dashboard_address": None},
            **{name: value for name, value in given.items() if value is not None},
        )


def prepare_and_commit(job: Job, out: str | PathLike[str], memory: int | None, task: Task) -> Record:
    """What a Dask worker runs. Repeating it is harmless: the newest windows of a recording are those that count."""
    with CorpusWriter(out) as writer, memory_budget(memory, writer.root / "shards"):
        return job.run(task[0], writer, task[1])


def _finished(
    client: Any, work: Callable[[Task], Record], tasks: Sequence[Task]
) -> Generator[Record, None, list[Task]]:
    """Records as they arrive; returns the tasks whose worker died."""
    from distributed import KilledWorker, as_completed

    tasks_of = dict(zip(client.map(work, tasks, pure=False, retries=0), tasks, strict=True))
    lost = []
    for future in as_completed(list(tasks_of)):
        task = tasks_of.pop(future)  # nothing holds a result that was taken
        try:
            yield future.result()
        except KilledWorker:
            lost.append(task)
    return lost
