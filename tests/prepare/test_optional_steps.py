"""Steps of other packages: PREP's bad channels, autoreject's stretches, Maxwell filtering."""

from __future__ import annotations

import sys

import mne
import numpy as np
import pytest

from brainof import io
from brainof.channels import Channels
from brainof.errors import ConfigError, DependencyError, RecordingError
from brainof.prepare import WindowOptions, cut, default_chain
from brainof.prepare.bads import BadChannels
from brainof.prepare.maxwell import Maxwell
from brainof.prepare.rejection import AutoReject
from brainof.recording import Recording
from brainof.simulate.montages import sensor_info


@pytest.fixture
def eeg() -> Recording:
    """16 electrodes that share their sources, 40 s at 128 Hz, volts."""
    montage = mne.channels.make_standard_montage("biosemi16")
    places = np.array(list(montage.get_positions()["ch_pos"].values()))
    random = np.random.default_rng(0)
    mixing = np.exp(-((places[:, None] - places[None]) ** 2).sum(-1) / 0.1**2)
    data = mixing @ random.standard_normal((16, 5120)) * 1e-5
    channels = Channels(tuple(montage.ch_names), ("eeg",) * 16, places, frame="head")
    return Recording(data, 128.0, "eeg", channels)


def test_prep_finds_what_correlates_with_nothing(eeg):
    data = eeg.data.copy()
    data[3] = np.random.default_rng(1).standard_normal(5120) * data[3].std()
    data[7] *= 60
    found = BadChannels(method="prep").apply(eeg.replace(data=data))
    names = eeg.channels.names
    assert set(found.bads) == {names[3], names[7]}
    assert names[7] in found.provenance["steps"][-1]["deviation"]
    assert names[3] in found.provenance["steps"][-1]["correlation"]


def test_prep_needs_eeg_and_its_package(make, eeg, monkeypatch):
    with pytest.raises(RecordingError, match="PREP judges EEG, not meg"):
        BadChannels(method="prep").apply(make(np.ones((3, 10)), kind="mag"))
    with pytest.raises(RecordingError, match="RANSAC needs positions"):
        BadChannels(method="prep", ransac=True).apply(make(np.ones((3, 10))))
    monkeypatch.setitem(sys.modules, "pyprep", None)
    with pytest.raises(DependencyError, match=r"pyprep, which is not installed; pip install 'brainof\[quality\]'"):
        BadChannels(method="prep").apply(eeg)


def test_autoreject_marks_stretches_that_no_window_touches(eeg):
    data = eeg.data.copy()
    data[:, 1290:1400] *= 40  # in the stretch from 10 to 12 s
    marked = AutoReject().apply(eeg.replace(data=data))
    rows = marked.events[marked.events["trial_type"] == "BAD_autoreject"]
    assert 10.0 in rows["onset"].tolist()
    assert marked.provenance["steps"][-1]["rejected"] == len(rows) < 5
    assert not any(9.0 < window.onset < 12.0 for window in cut(marked, WindowOptions(length=1)))
    np.testing.assert_array_equal(marked.data, data)


def test_autoreject_needs_enough_to_learn_from(eeg):
    with pytest.raises(RecordingError, match="autoreject, which learns from at least 10"):
        AutoReject(length=5).apply(eeg)


@pytest.fixture(scope="module")
def meg() -> Recording:
    """A 306-sensor recording: a dipole's field inside, a plane wave from far away ten times as large, one bad coil."""
    info = sensor_info("neuromag306").copy()
    with info._unlock():
        info["sfreq"] = 100.0
    random, n_times = np.random.default_rng(0), 500
    sphere = mne.make_sphere_model((0.0, 0.0, 0.04), None, verbose="error")
    dipole = mne.Dipole([0.0], [[0.03, 0.0, 0.09]], [1e-8], [[0.0, 1.0, 0.0]], [100.0])
    field = mne.make_forward_dipole(dipole, sphere, info, verbose="error")[0]["sol"]["data"][:, 0] * 1e-8
    coils = np.array([channel["loc"][3:12].reshape(3, 3)[2] for channel in info["chs"]])
    magnetic = np.array([kind == "mag" for kind in info.get_channel_types()])
    outside = np.where(magnetic, coils @ [0.0, 0.0, 1.0], 0.0) * 1e-11
    wave = np.sin(2 * np.pi * 10 * np.arange(n_times) / 100)
    data = field[:, None] * wave + outside[:, None] * random.standard_normal(n_times)
    data += np.where(magnetic, 1e-14, 5e-13)[:, None] * random.standard_normal((306, n_times))
    truth = field[:, None] * wave
    data[7] += 1e-9 * random.standard_normal(n_times)
    recording = io.from_mne(mne.io.RawArray(data, info, verbose="error"))
    recording.provenance["truth"] = truth
    return recording


def test_maxwell_takes_out_what_comes_from_outside(meg):
    cleaned = Maxwell().apply(meg)
    magnetic = np.array(meg.channels.types) == "mag"
    truth = meg.provenance["truth"][magnetic]
    before = np.linalg.norm(meg.data[magnetic] - truth) / np.linalg.norm(truth)
    after = np.linalg.norm(cleaned.data[magnetic] - truth) / np.linalg.norm(truth)
    assert after < 0.2 * before
    assert meg.channels.names[7] in cleaned.provenance["steps"][-1]["found"]
    assert cleaned.bads == ()  # rebuilt
    again = Maxwell().apply(cleaned)
    assert again.provenance["steps"][-1] == {"step": "maxwell", "applied": False, "why": "it was done before"}


def test_maxwell_only_where_it_can(make, meg):
    plain = make(np.ones((3, 100)), kind="mag")
    left = Maxwell().apply(plain)
    assert left.data is plain.data
    assert "no Maxwell filtering" in left.notes[-1]
    few = Maxwell().apply(meg.replace(data=meg.data[:50], channels=meg.channels.take(range(50))))
    assert few.notes[-1] == "no Maxwell filtering: 50 sensors for 95 components"


def test_steps_of_another_modality_are_refused():
    with pytest.raises(ConfigError, match=r"prepare\.maxwell: is made for meg, not eeg"):
        default_chain("eeg", {"maxwell": True})
