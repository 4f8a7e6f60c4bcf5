"""
Pretraining on a cluster
========================

On a cluster the command of one machine is started once per device, by ``torchrun`` or SLURM. Here two processes on
the CPU (gloo) stand for two GPUs; nothing but the number of processes differs from a real job.
"""

# %%
# A simulated dataset in a corpus. On a cluster many jobs prepare one corpus together: ``brainof prepare RECIPE --root
# data --out corpus --part 3/16``, or ``--engine slurm``.

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import pandas as pd

from brainof.datasets import prepare
from brainof.simulate import CohortParameters
from brainof.simulate.write import write

mne.set_log_level("error")
folder = Path(tempfile.mkdtemp())
cohort = write(
    CohortParameters(subjects=4, seconds=60, modalities=("eeg",), channels=19),
    folder / "cohort",
)
summary = prepare(cohort / "recipe_eeg.yaml", cohort, folder / "corpus")
print(summary.text().splitlines()[0])


def run(*command):
    """Run a command in the folder; what it says, or its error."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout


# %%
# What would it cost? ``brainof plan`` answers before a GPU is asked for: memory, communication, time and disk for any
# number of devices.

print(run("brainof", "plan", "base", "--devices", "8", "64"))

# %%
# One process, as on a laptop. The last words make it small; ``health_margin=0`` lets a run pass that is too short to
# learn anything. A step is two batches of four windows.

small = [
    "steps=12",
    "batch_size=4",
    "accumulate=2",
    "log_every=1",
    "health_margin=0",
    "precision=float32",
]
small += ["threads=1", "model.preset=debug"]
run(
    "brainof", "pretrain", "published", "--corpus", "corpus", "--out", "one", *small
)

# %%
# Two processes: ``torchrun --nproc-per-node 2 -m brainof pretrain ...``. On a node with eight GPUs it is
# ``--nproc-per-node 8``, on several nodes ``sbatch --nodes 4 docs/guide/cluster/slurm.sbatch published corpus two``.
# Both processes share each step: one batch each.

torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
run(
    *torchrun,
    "brainof",
    "pretrain",
    "published",
    "--corpus",
    "corpus",
    "--out",
    "two",
    *small,
)

# %%
# Windows, their order and masks depend on the seed alone, so that both runs go the same way, to rounding. What a run
# wrote on two processes can be continued on one or on eight: by the same command, after a preemption as well.

losses = {
    name: pd.read_json(folder / name / "metrics.jsonl", lines=True)
    for name in ("one", "two")
}
losses = {
    name: rows.dropna(subset=["loss"]).set_index("step")["loss"]
    for name, rows in losses.items()
}
difference = (losses["one"] - losses["two"]).abs().max()
print(
    f"largest difference of the loss at any step: {difference:.1e} (six digits are logged)"
)
assert difference < 1e-3

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(losses["one"], "o-", label="one process")
axes.plot(losses["two"], "x--", label="two processes")
axes.set(xlabel="step", ylabel="loss (Smooth L1)")
axes.legend()

# %%
# More: :doc:`/guide/cluster` (interruption, FSDP, experts on ranks, checkpoints) and :doc:`/scaling` (what was
# measured).
