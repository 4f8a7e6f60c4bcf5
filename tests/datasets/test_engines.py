"""Engines: the same corpus whoever did the work, and a process that dies takes nothing with it but its own file."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from tests import ranks

from brainof.cli import main
from brainof.corpus import Corpus
from brainof.datasets import engines, find_recipe
from brainof.datasets.engines import KILLED, Engine
from brainof.datasets.job import DIED
from brainof.datasets.run import prepare
from brainof.errors import ConfigError, DependencyError, StorageError

#: In every Python process started with it: opening a file below a folder `poison` for the n-th time is its end
POISON = """\
import os, signal, sys
left = int(os.environ["POISON_AFTER"])
def hook(event, args):
    global left
    if event == "open" and "sub-02/run-1" in str(args[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


@pytest.fixture
def poison(tmp_path, monkeypatch):
    """`poison(n)`: processes started from now on die when they open sub-02/run-1.npz after n times."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)

    def arm(n: int) -> None:
        monkeypatch.setenv("POISON_AFTER", str(n))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))

    return arm


def poisoned(environment: dict[str, str], *command: str) -> None:
    os.environ.update(environment)
    exec(POISON, {})
    main(command)


def states(summary) -> dict[str, str]:
    return dict(zip(summary.table["recording"], summary.table["state"], strict=True))


@pytest.mark.timeout(400)  # new processes import MNE and torch, slowly where the machine is busy
def test_dask_gives_the_same_corpus_and_a_dying_worker_costs_its_file_alone(toy, tmp_path, poison):
    recipe, root = find_recipe(toy[0]), toy[1]
    serial = prepare(recipe, root, tmp_path / "serial")
    poison(0)
    summary = prepare(recipe, root, tmp_path / "dask", engine=Engine("dask", 2))
    assert {name for name, state in states(summary).items() if state == "failed"} == {"sub-02/run-1.npz"}
    assert summary.count("done") == serial.count("done") - 1
    assert KILLED in summary.text()
    ours, theirs = Corpus(tmp_path / "dask"), Corpus(tmp_path / "serial")
    expected = theirs.index[theirs.index["recording"] != "sub-02/run-1.npz"]
    columns = ["recording", "view", "onset", "crc32c", "config", "good"]
    assert ours.index[columns].astype(str).to_numpy().tolist() == expected[columns].astype(str).to_numpy().tolist()


@pytest.mark.timeout(400)
def test_a_killed_run_is_continued_and_the_file_that_killed_it_comes_last(toy, tmp_path, poison):
    out = tmp_path / "corpus"
    command = "prepare", str(toy[0]), "--root", str(toy[1]), "--out", str(out)
    poison(1)  # once for its fingerprint, then for its data
    for _ in range(2):
        child = ranks.CONTEXT.Process(target=poisoned, args=(dict(os.environ), *command))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        assert DIED in "".join(path.read_text() for path in (out / "failures").iterdir())
    assert len(set(Corpus(out).index["recording"])) == 5  # the second run did all others first
    summary = prepare(find_recipe(toy[0]), toy[1], out)  # mended
    assert (summary.complete, summary.skipped) == (True, 5)
    assert not list((out / "failures").iterdir())
    assert not list(out.rglob("*.tmp"))


def test_work_is_committed_before_the_shard_is_full(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "COMMIT_SECONDS", 0.0)
    prepare(find_recipe(toy[0]), toy[1], tmp_path / "corpus")
    assert len(set(Corpus(tmp_path / "corpus").index["shard"])) == 6


def test_slurm_job_script():
    engine = Engine("slurm", 3, memory=4 * 10**9, queue="long", account="brain", walltime="02:00:00")
    with engine._slurm() as cluster:
        script = cluster.job_script()
    for line in (
        "#SBATCH -p long",
        "#SBATCH -A brain",
        "#SBATCH -t 02:00:00",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --mem=6G",
        "export OMP_NUM_THREADS=1",
    ):
        assert line in script.splitlines(), script
    assert f"{sys.executable} -m distributed.cli.dask_worker" in script
    assert "--nthreads 1" in script


@pytest.mark.timeout(400)
def test_slurm_with_a_queue_that_runs_jobs_at_once(toy, tmp_path, monkeypatch):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in (
        # the script is gone once sbatch returns, so it keeps a copy
        (
            "sbatch",
            f'#!/bin/sh\ncp "$1" {tmp_path}/job.sh\nsetsid sh {tmp_path}/job.sh >{tmp_path}/job.log 2>&1 &\n'
            'echo "Submitted batch job $!"\n',
        ),
        ("scancel", '#!/bin/sh\nkill -- "-$1" 2>/dev/null\nexit 0\n'),
    ):
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    summary = prepare(find_recipe(toy[0]), toy[1], tmp_path / "corpus", engine=Engine("slurm", 1, memory=2 * 10**9))
    assert summary.complete, (tmp_path / "job.log").read_text()


@pytest.mark.parametrize(
    ("name", "workers", "message"),
    [
        ("dusk", 1, "engine: 'dusk'; did you mean 'dask'"),
        ("serial", 2, "workers: 2; serial means one worker; use engine='dask'"),
        ("dask", 0, "workers: 0"),
    ],
)
def test_wrong_engines(name, workers, message):
    with pytest.raises(ConfigError, match=message):
        Engine(name, workers)


def test_without_dask(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DependencyError, match=r"engine='dask': needs the package distributed.*pip install 'brainof"):
        prepare(find_recipe(toy[0]), toy[1], tmp_path / "corpus", engine=Engine("dask", 2))


def test_a_full_disk_in_a_worker_stops_the_run(toy, tmp_path, monkeypatch):
    out = tmp_path / "corpus"
    prepare(find_recipe(toy[0]), toy[1], out, limit=1)
    (out / "shards").rename(out / "moved")
    (out / "shards").write_text("no folder")
    with pytest.raises(StorageError):
        prepare(find_recipe(toy[0]), toy[1], out)
    assert np.size(list(Path(out / "moved").iterdir()))
