"""
Pretraining, small
==================

The same command runs from a laptop to a cluster; here forty steps on a simulated cohort show what it writes.
"""

# %%
# A simulated dataset in a corpus.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import pandas as pd

import brainof
from brainof.datasets import prepare
from brainof.pretraining import find_config, pretrain
from brainof.simulate import CohortParameters
from brainof.simulate.write import write

mne.set_log_level("error")
folder = Path(tempfile.mkdtemp())
parameters = CohortParameters(
    subjects=4, seconds=60, modalities=("eeg",), channels=19
)
cohort = write(parameters, folder / "cohort")
summary = prepare(cohort / "recipe_eeg.yaml", cohort, folder / "corpus")
print(summary.text().splitlines()[0])

# %%
# ``brainof pretrain per_output --corpus corpus --out run steps=40``, in Python. So few steps teach nothing, and the
# health check at the end says so: a model whose decoder ignores its input is not released.

config = find_config("per_output").replaced(
    ["steps=40", "log_every=5", "health_every=40", "threads=1"], "example"
)
try:
    run = pretrain(config, folder / "corpus", folder / "run")
except brainof.errors.HealthError as error:
    run = folder / "run"
    print(error)

# %%
# Every number is a line of ``metrics.jsonl``.

rows = pd.read_json(run / "metrics.jsonl", lines=True)
losses = rows.dropna(subset=["loss"])
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(losses["step"], losses["loss"])
axes.set(xlabel="step", ylabel="loss")
