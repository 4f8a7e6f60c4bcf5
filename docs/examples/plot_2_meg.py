"""
MEG: sensors, positions and what a model may be given
=====================================================

Magnetometers and gradiometers, their units and orientations, and what happens when a recording does not fit the model.
"""

# %%
# A simulated FIF file with 306 sensors.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np

import brainof
from brainof.errors import BrainOFError
from brainof.simulate import CohortParameters
from brainof.simulate.write import write

mne.set_log_level("error")
folder = Path(tempfile.mkdtemp())
parameters = CohortParameters(subjects=2, seconds=40, modalities=("meg",))
cohort = write(parameters, folder / "cohort")
file = next(cohort.glob("sub-*/**/*_meg.fif"))
recording = brainof.read(file)
recording

# %%
# Every channel has a type, an SI unit, a position and an orientation; the model reads these, never names.

types, counts = np.unique(recording.channels.types, return_counts=True)
print(
    dict(zip(types.tolist(), counts.tolist(), strict=True)),
    set(recording.channels.units),
)
magnetometers = np.flatnonzero(np.array(recording.channels.types) == "mag")
spread = recording.data[magnetometers].std(axis=1) * 1e15
figure, axes = plt.subplots(figsize=(4, 3.5), layout="constrained")
raw = recording.to_mne().pick("mag")
drawn, _ = mne.viz.plot_topomap(
    spread, raw.info, axes=axes, show=False, cmap="viridis"
)
figure.colorbar(drawn, label="standard deviation (fT)")

# %%
# Embeddings of all sensors, and of the magnetometers alone: any set of sensors gives latents of the same shape.

everything = brainof.embed(recording, "tiny", contract=None, window_seconds=4)
some = brainof.embed(
    recording.pick(magnetometers), "tiny", contract=None, window_seconds=4
)
print(everything.values.shape, some.values.shape)

# %%
# A wrong unit is noticed by the amplitude, and the error says what to do. Here tesla are a million times too large.

try:
    brainof.embed(
        recording.replace(data=recording.data * 1e6), "tiny", contract=None
    )
except BrainOFError as error:
    print(error)
