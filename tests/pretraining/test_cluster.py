"""The launch files of docs/guide/cluster, with stand-ins for SLURM: what ranks are told, and when a job goes back."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "docs" / "guide" / "cluster"

STANDINS = {
    "scontrol": '[ "$1" = show ] && echo first || echo "scontrol $*" >> "$LOG"',
    "srun": 'for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NTASKS=2 "$@" || exit; done',
    "brainof": 'echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT: $*" >> "$LOG"; exit $CODE',
    "torchrun": 'echo "torchrun $*" >> "$LOG"',
}


@pytest.fixture
def launch(tmp_path):
    for name, text in STANDINS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(file: str, code: int = 0) -> tuple[int, list[str]]:
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "LOG": str(tmp_path / "log"),
            "CODE": str(code),
        }
        environment |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"}
        words = ["bash", str(FILES / file), "demo", "corpus", str(tmp_path / "run"), "steps=4"]
        done = subprocess.run(words, env=environment, check=False)
        return done.returncode, (tmp_path / "log").read_text().splitlines()

    return run


def test_slurm_starts_a_rank_per_task_and_puts_a_stopped_job_back(launch, tmp_path):
    code, log = launch("slurm.sbatch")
    told = f"first 10007: pretrain demo --corpus corpus --out {tmp_path / 'run'} steps=4"
    assert log == [f"0 0 2 {told}", f"1 1 2 {told}", "scontrol requeue 7"]
    assert code == 0


def test_a_finished_or_failed_job_is_not_put_back(launch, tmp_path):
    assert launch("slurm.sbatch", code=1)[0] == 1
    (tmp_path / "run" / "release").mkdir(parents=True)
    assert launch("slurm.sbatch")[0] == 0
    assert "scontrol requeue 7" not in (tmp_path / "log").read_text()


def test_torchrun_starts_one_rank_per_gpu(launch, tmp_path):
    _, log = launch("torchrun.sh")
    expected = f"-m brainof pretrain demo --corpus corpus --out {tmp_path / 'run'} steps=4"
    assert log == [f"torchrun --standalone --nproc-per-node gpu {expected}"]
