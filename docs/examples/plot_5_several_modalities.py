"""
Several modalities of one subject
=================================

EEG and fMRI recorded on one clock: windows that belong together, fused serially, and what happens when one is missing.
"""

# %%
# A simulated cohort in which every subject has both.

import tempfile
from pathlib import Path

import mne
import torch

from brainof.corpus import Corpus, pairs
from brainof.datasets import prepare
from brainof.model import BrainOF
from brainof.model.fusion import FusedBrainOF, PairedBatch
from brainof.simulate import CohortParameters
from brainof.simulate.write import write

mne.set_log_level("error")
folder = Path(tempfile.mkdtemp())
parameters = CohortParameters(
    subjects=2,
    seconds=128,
    block=64,
    modalities=("eeg", "fmri"),
    channels=19,
    rois=40,
    fmri_blocks=2,
)
cohort = write(parameters, folder / "cohort")
for modality in parameters.modalities:
    summary = prepare(cohort / f"recipe_{modality}.yaml", cohort, folder / "corpus")
    print(summary.text().splitlines()[0])

# %%
# Pairs of windows that overlap; fMRI is read five seconds later, when the blood has followed.

corpus = Corpus(folder / "corpus")
table = pairs(
    corpus.index,
    {"eeg": "simulated_eeg", "fmri": "simulated_fmri"},
    view="pretrain",
    lag={"fmri": 5.0},
)
table.head()

# %%
# Serial fusion: the latents of EEG are resampled by fMRI. The weights here are random.

torch.manual_seed(0)
fused = FusedBrainOF(BrainOF.from_preset("tiny"), order=("eeg", "fmri")).eval()
batch = PairedBatch.complete(
    eeg=corpus.batch(table["eeg"][:4].tolist()),
    fmri=corpus.batch(table["fmri"][:4].tolist()),
)
with torch.no_grad():
    both = fused.forward_features(batch)
    lost = torch.tensor([False, True, False, True])
    some = fused.forward_features(batch.without({"fmri": lost}))
    alone = fused.model.forward_features(batch.batches["eeg"])
print("latents:", tuple(both.shape))
print(
    "a window without fMRI equals EEG alone:",
    torch.allclose(some[1], alone[1], atol=1e-5),
)
