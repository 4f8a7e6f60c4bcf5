from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiLabelsMasker

import brainof
from brainof.errors import ConfigError, ReadError
from brainof.inference.embeddings import Embeddings
from brainof.interop import from_masker, to_regressors

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


@pytest.fixture
def masker_and_signals():
    labels = np.zeros((8, 8, 8), np.int32)
    labels[1:3], labels[4:6], labels[7] = 5, 2, 9
    volumes = np.random.default_rng(0).standard_normal((8, 8, 8, 130)).astype(np.float32) + 100
    masker = NiftiLabelsMasker(
        nibabel.Nifti1Image(labels, AFFINE), labels=["Background", "two", "five", "nine"], t_r=2.0, standardize=None
    )
    return masker, masker.fit_transform(nibabel.Nifti1Image(volumes, AFFINE))


def test_a_masker_gives_a_recording_that_embeds(masker_and_signals):
    masker, signals = masker_and_signals
    recording = from_masker(signals, masker, atlas="made")
    assert recording.channels.names == ("two", "five", "nine")
    assert recording.channels.labels.tolist() == [2, 5, 9]
    assert recording.channels.order.tolist() == [0, 1, 2]
    np.testing.assert_allclose(recording.channels.positions[:, 0], [0.018, 0.006, 0.028])
    np.testing.assert_array_equal(recording.data, signals.T.astype(np.float32))
    assert (recording.t_r, recording.channels.frame, recording.channels.atlas) == (2.0, "mni", "made")
    found = brainof.embed(recording, brainof.load("debug")[0], contract=None)
    assert len(found) == 1


def test_what_a_masker_cannot_say_is_asked_for(masker_and_signals):
    masker, signals = masker_and_signals
    with pytest.raises(ReadError, match=r"shape \(3, 130\) for 3 regions; give \(n_volumes, n_regions\)"):
        from_masker(signals.T, masker)
    masker.t_r = None
    with pytest.raises(ConfigError, match="t_r: is unknown"):
        from_masker(signals, masker)
    with pytest.raises(ConfigError, match="masker: knows no regions"):
        from_masker(signals, NiftiLabelsMasker(masker.labels_img))


def test_regressors_follow_the_embedding():
    """One direction of the embedding switches every 20 s: its regressor is that block design, late by the HRF."""
    onset = np.arange(50) * 4.0
    block = np.where(onset % 40 < 20, 1.0, -1.0)
    rng = np.random.default_rng(0)
    values = 5 * block[:, None] * rng.standard_normal(16) + 0.1 * rng.standard_normal((50, 16))
    embeddings = Embeddings(values.astype(np.float32), pd.DataFrame({"onset": onset, "duration": 4.0}))
    times = np.arange(0, 200, 2.0)
    plain = to_regressors(embeddings, times, n_components=2, hrf_model=None)
    assert plain.shape == (100, 2)
    expected = np.where(times % 40 < 20, 1, -1)
    assert abs(np.corrcoef(plain["brainof_1"], expected)[0, 1]) > 0.99
    late = to_regressors(embeddings, times, n_components=1)["brainof_1"].to_numpy()
    lags = [abs(np.corrcoef(late[20 + lag : 90 + lag], expected[20:90])[0, 1]) for lag in range(6)]
    assert np.argmax(lags) in (2, 3)  # 4 to 6 s
    with pytest.raises(ConfigError, match="50 of 50 windows"):
        to_regressors(embeddings, times, n_components=50)
