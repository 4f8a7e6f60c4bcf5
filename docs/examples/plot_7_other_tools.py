"""
With scikit-learn, braindecode and MOABB
========================================

The model as a transformer in a pipeline, and as a PyTorch module with the signal arguments that braindecode uses.
"""

# %%
# Windows with a planted difference: the second class has alpha at the back of the head.

import mne
import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import brainof
from brainof.interop import BrainOFModule

mne.set_log_level("error")
names, sfreq, rng = (
    ["Fz", "Cz", "Pz", "O1", "O2", "C3", "C4", "Fpz"],
    128,
    np.random.default_rng(0),
)
info = mne.create_info(names, sfreq, "eeg").set_montage("standard_1020")
data, labels = (
    rng.normal(0, 1e-5, (60, len(names), 4 * sfreq)),
    np.tile(["no alpha", "alpha"], 30),
)
data[1::2, 3:5] += 1e-5 * np.sin(2 * np.pi * 10 * np.arange(4 * sfreq) / sfreq)
epochs = mne.EpochsArray(data, info)

# %%
# scikit-learn: embed, reduce, classify.

pipeline = make_pipeline(
    brainof.BrainOFEmbedder("tiny"), PCA(10), LogisticRegression()
)
scores = cross_val_score(pipeline, epochs, labels, cv=3)
print(f"accuracy {scores.mean():.2f}, chance 0.50")

# %%
# braindecode's signature; ``EEGClassifier(BrainOFModule, module__model=...)`` trains it, and MOABB runs either.

module = BrainOFModule(
    n_outputs=2,
    chs_info=info["chs"],
    n_times=data.shape[2],
    sfreq=sfreq,
    model="tiny",
)
print(module(torch.from_numpy(1e6 * data[:4]).float()).shape)

# %%
# Plain PyTorch: a tensor with the places of its channels. Gradients reach the input.

model = brainof.BrainOF.from_pretrained("tiny").reset_head(2)
places = np.array([channel["loc"][:3] for channel in info["chs"]])
signal = torch.from_numpy(data / data.std()).float().requires_grad_()
model(signal[:8], sfreq=sfreq, positions=places)[:, 0].sum().backward()
print(signal.grad[:8].abs().mean(dim=(0, 2)))
