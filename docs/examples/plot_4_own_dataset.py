"""
Your own dataset: a recipe, a corpus and its quality
====================================================

A dataset is described by a few lines of YAML, never by code. From then on every command knows it.
"""

# %%
# Files as a lab has them: here four EDF files of two subjects, 20 s each.

import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np

from brainof.corpus import Corpus
from brainof.datasets import Recipe, prepare

mne.set_log_level("error")
folder = Path(tempfile.mkdtemp())
names, rng = ["Fz", "Cz", "Pz", "Oz", "C3", "C4"], np.random.default_rng(0)
for subject in ("01", "02"):
    for run in ("open", "closed"):
        noise = rng.normal(0, 1e-5, (len(names), 20 * 256))
        alpha = (1e-5 if run == "closed" else 2e-6) * np.sin(
            2 * np.pi * 10 * np.arange(20 * 256) / 256
        )
        info = mne.create_info(names, 256, "eeg")
        mne.io.RawArray(noise + alpha, info).export(
            folder / f"S{subject}_{run}.edf"
        )

# %%
# The recipe: which files, how they are cut, which labels they have, and what may be asked of them.

text = """
name: eyes
title: Eyes open and closed
modality: eeg
license: CC0-1.0
citation: simulated for this example
files:
  - pattern: S{subject}_{run}.edf
windows: {length: 2}
labels:
  eyes: {entity: run}
tasks:
  eyes: {label: eyes, split: subject}
"""
(folder / "eyes.yaml").write_text(text)
summary = prepare(Recipe.load(folder / "eyes.yaml"), folder, folder / "corpus")
print(summary.text())

# %%
# The corpus is an index and files of windows. Running ``prepare`` again does only what is new.

corpus = Corpus(folder / "corpus")
corpus.index[["dataset", "subject", "recording", "onset", "n_times"]].head()

# %%
# Windows come back as arrays or as the batches a model takes.

batch = corpus.batch([0, 1, 2])
figure, axes = plt.subplots(figsize=(6, 2.5), layout="constrained")
axes.plot(
    np.arange(batch.signal_BCT.shape[2]) * batch.interval_B[0].item(),
    batch.signal_BCT[0, 3],
)
axes.set(xlabel="time (s)", ylabel="Oz, robust standard deviations")

# %%
# The same on the command line.

command = ["brainof", "corpus", "info", str(folder / "corpus")]
print(
    subprocess.run(
        ["python", "-m", *command], capture_output=True, text=True
    ).stdout
)
