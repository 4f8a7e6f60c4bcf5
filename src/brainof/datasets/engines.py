"""Engines: the same recordings prepared one after the other, by local Dask workers, or by Dask workers under SLURM.

What an engine reports is only good for progress: the state of a recording is judged from the disk (`run.judge`).
"""

from __future__ import annotations

import logging
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..corpus import CorpusWriter
from ..errors import ConfigError, did_you_mean
from ..utils.memory import memory_budget
from ..utils.optional import optional
from .discover import Found
from .job import Job
from .recipe import Recipe

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


@dataclass(frozen=True)
class Engine:
    """How recordings are shared out.

    Parameters
    ----------
    name : {"serial", "dask", "slurm"}
    workers : int
        Processes (jobs under SLURM).
    memory : int, optional
        Bytes that one worker may use.
    queue, account, walltime : str, optional
        For SLURM; what is not given comes from Dask's own configuration (`jobqueue.slurm`).

    Raises
    ------
    ConfigError
        Unknown engine, or a number of workers that it cannot have.
    """

    name: str = "serial"
    workers: int = 1
    memory: int | None = None
    queue: str | None = None
    account: str | None = None
    walltime: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ConfigError(f"{self.name!r}", field="engine", fix=did_you_mean(self.name, ENGINES))
        if self.workers < 1 or (self.name == "serial" and self.workers > 1):
            fix = "serial means one worker; use engine='dask'" if self.workers > 1 else "give a number above 0"
            raise ConfigError(f"{self.workers}", field="workers", fix=fix)

    def run(self, work: Work, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Prepare recordings; yields a record (see `Job.run`) as each is finished, in any order.

        Raises
        ------
        DependencyError
            The engine's package is not installed.
        StorageError
            The corpus cannot be written.
        """
        if self.name == "serial":
            return serial(work, tasks)
        return on_cluster(work, tasks, self.cluster())

    def cluster(self) -> Any:
        """The Dask cluster of this engine, with its workers asked for."""
        optional("distributed", "dask", f"engine='{self.name}'")
        import dask

        # no retries: a file that crashes its worker would crash the next; a worker holds one task at a time, so that
        # few have to be tried again
        dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0})
        if self.name == "slurm":
            cluster = self._slurm()
            cluster.scale(jobs=self.workers)
            return cluster
        from distributed import LocalCluster

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


@dataclass(frozen=True)
class Work:
    """What a worker must know; small, and the same for all recordings of a run."""

    recipe: Recipe
    root: str
    out: str
    strict: bool = False
    memory: int | None = None
    to_run_alone: frozenset[str] = frozenset()
    """Recordings over which a process died before."""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def job(self) -> Job:
        """What prepares single recordings."""
        return Job(self.recipe, self.root, self.strict)

    def prepare(self, job: Job, task: Task, writer: CorpusWriter) -> dict[str, Any]:
        """One recording into the corpus, within the memory of a worker."""
        with memory_budget(self.memory, Path(self.out) / "shards"):
            return job.run(task[0], writer, task[1])


def serial(work: Work, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """One after the other in this process; what was prepared is committed every `COMMIT_SECONDS`."""
    job = work.job()
    with CorpusWriter(work.out) as writer:
        committed = time.monotonic()
        for task in tasks:
            if task[0].name in work.to_run_alone:
                writer.flush()  # it may take this process with it
            yield work.prepare(job, task, writer)
            if time.monotonic() - committed > COMMIT_SECONDS:
                writer.flush()
                committed = time.monotonic()


#: In a worker: the job of the run it works for, so that label tables are read once
_jobs: dict[str, Job] = {}


def prepare_one(work: Work, task: Task) -> dict[str, Any]:
    """What a worker runs: one recording, committed when this returns.

    Repeating it is harmless: the newest windows of a recording are those that count.
    """
    if work.key not in _jobs:
        _jobs.clear()
        _jobs[work.key] = work.job()
    with CorpusWriter(work.out) as writer:
        return work.prepare(_jobs[work.key], task, writer)


def on_cluster(work: Work, tasks: Sequence[Task], cluster: Any) -> Iterator[dict[str, Any]]:
    """One Dask task per recording; closes the cluster.

    The recordings that a dead worker held are tried once more, one at a time: a file that crashes its worker again is
    given up.
    """
    from distributed import Client

    with cluster, Client(cluster) as client:
        to_retry_alone: list[Task] = []
        yield from _submitted(client, work, tasks, to_retry_alone)
        for task in to_retry_alone:
            crashed: list[Task] = []
            yield from _submitted(client, work, [task], crashed)
            for found, config in crashed:
                logger.warning("%s: %s", found.name, KILLED)
                identity = {"recording": found.name, "dataset": work.recipe.name, "modality": work.recipe.modality}
                with CorpusWriter(work.out) as writer:
                    writer.record_failure(identity, KILLED)
                yield {"recording": found.name, "config": config, "state": "failed", "reason": KILLED, "notes": []}


def _submitted(client: Any, work: Work, tasks: Sequence[Task], lost: list[Task]) -> Iterator[dict[str, Any]]:
    """Records as they arrive; tasks whose worker died go to `lost`."""
    from distributed import KilledWorker, as_completed

    futures: dict[Any, Task] = {}
    waiting = iter(tasks)

    def submit(n: int) -> list[Any]:
        """The next tasks; a few at a time, so that the scheduler stays small however many there are."""
        new = [(client.submit(prepare_one, work, task, pure=False, retries=0), task) for task in islice(waiting, n)]
        futures.update(new)
        return [future for future, _ in new]

    arriving = as_completed(submit(4 * max(2, len(client.nthreads()))))
    for future in arriving:
        task = futures.pop(future)
        arriving.update(submit(1))
        try:
            yield future.result()
        except KilledWorker:
            lost.append(task)
        future.release()
