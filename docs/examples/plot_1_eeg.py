"""
EEG: from a file to a decoder
=============================

A recording in a usual format becomes windows with embeddings, and epochs become a classifier that is tested on
subjects it never saw.
"""

# %%
# A recording. Here the simulator writes BrainVision files; with your own, start at ``brainof.read``.

import tempfile
from pathlib import Path

import mne
import numpy as np
from sklearn.model_selection import GroupKFold, cross_val_score

import brainof
from brainof.simulate import CohortParameters
from brainof.simulate.write import write

mne.set_log_level("error")
folder = Path(tempfile.mkdtemp())
parameters = CohortParameters(
    subjects=4, seconds=80, modalities=("eeg",), channels=19
)
cohort = write(parameters, folder / "cohort")
files = sorted(cohort.glob("sub-*/**/*.vhdr"))
recording = brainof.read(files[0])
recording

# %%
# What was read: units are SI, positions come from the file, the sidecars gave the events.

figure = recording.plot(duration=20, n_channels=19)

# %%
# Embeddings, one vector per window, by the weights that come with brainof. Their contract says what they were trained
# on; the recording is checked against it and prepared as it says.

embeddings = brainof.embed(recording)
embeddings.table.head()

# %%
# Epochs of all subjects, and the state in each.

epochs, states, subjects = [], [], []
for file in files:
    recording = brainof.read(file)
    raw = recording.to_mne()
    events, names = mne.events_from_annotations(raw)
    chosen = {
        name: number for name, number in names.items() if name in ("rest", "task")
    }
    found = mne.Epochs(
        raw,
        events,
        chosen,
        tmin=0,
        tmax=4 - 1 / raw.info["sfreq"],
        baseline=None,
        preload=True,
    )
    epochs.append(found)
    states += [
        {number: name for name, number in chosen.items()}[code]
        for code in found.events[:, 2]
    ]
    subjects += [recording.entities["subject"]] * len(found)

# %%
# A classifier in scikit-learn's manner. The folds keep each subject on one side.

classifier = brainof.BrainOFClassifier(adapt="probe")
scores = cross_val_score(
    classifier,
    mne.concatenate_epochs(epochs),
    np.array(states),
    groups=np.array(subjects),
    cv=GroupKFold(2),
    scoring="balanced_accuracy",
)
print(
    f"balanced accuracy on unseen subjects: {scores.mean():.2f} (chance 0.50), folds {scores.round(2)}"
)
