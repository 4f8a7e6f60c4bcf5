from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.explain.reconstruction import reconstruct
from brainof.model import BrainOF
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.signals import SignalBatch


@pytest.fixture
def batch() -> SignalBatch:
    channels = Channels(tuple("abc"), ("eeg",) * 3)
    windows = [np.random.default_rng(row).standard_normal((3, 200)) for row in range(2)]
    return SignalBatch.from_arrays(windows, channels, 100.0, "eeg", 64)


def test_examples_show_the_clean_signal_and_what_was_hidden(batch):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").train()
    masked = Masking(MaskConfig(), 64).plan(batch, np.random.default_rng(0), fourier=False)
    one, two = reconstruct(Objective(model, ObjectiveConfig()), masked, "abc")
    assert model.training  # as it was
    assert (one.modality, one.sfreq, one.names) == ("eeg", pytest.approx(100.0), "abc")
    np.testing.assert_allclose(one.true_CT, batch.signal_BCT[0, :, :200])
    assert one.reconstructed_CT.shape == one.hidden_CT.shape == two.hidden_CT.shape == (3, 200)
    # whole patches are hidden, about half of them
    patches = one.hidden_CT[:, :192].reshape(3, 3, 64)
    assert (patches.all(-1) | ~patches.any(-1)).all()
    assert 0.2 < one.hidden_CT.mean() < 0.8
    assert np.isfinite(one.reconstructed_CT).all()
