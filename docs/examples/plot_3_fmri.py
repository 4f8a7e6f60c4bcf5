"""
fMRI: regions, functional connectivity and embeddings
=====================================================

Tables of regions, images with an atlas, and the output of nilearn's maskers all become the same thing: a recording.
"""

# %%
# A 4-D image with the atlas that it was painted with, as the simulator writes them.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import mne
import numpy as np

import brainof
from brainof.simulate import CohortParameters
from brainof.simulate.write import write

mne.set_log_level("error")
folder = Path(tempfile.mkdtemp())
parameters = CohortParameters(
    subjects=1, seconds=40, modalities=("fmri",), rois=40, fmri_blocks=6
)
cohort = write(parameters, folder / "cohort", nifti=True)
image = next(cohort.glob("sub-*/func/*_bold.nii.gz"))
derivative = cohort / "derivatives" / "parcellated"
atlas = {
    "image": str(derivative / "atlas_space-MNI152.nii.gz"),
    "labels": str(derivative / "atlas.tsv"),
}
recording = brainof.read(image, atlas=atlas)
recording

# %%
# A carpet of all regions, and their functional connectivity.

figure = recording.plot()
figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
shown = axes.imshow(np.corrcoef(recording.data), vmin=-1, vmax=1, cmap="RdBu_r")
axes.set(xlabel="region", ylabel="region")
figure.colorbar(shown, label="correlation")

# %%
# The same regions from an array, such as ``masker.fit_transform`` of nilearn gives it. Without positions the model
# would not know where a region is, so they are given, in metres.

again = brainof.from_array(
    recording.data,
    recording.sfreq,
    "fmri",
    channel_names=recording.channels.names,
    positions=recording.channels.positions,
    frame="mni",
)
embeddings = brainof.embed(again, "tiny", contract=None)
print(embeddings)
figure = embeddings.plot(by="onset")
