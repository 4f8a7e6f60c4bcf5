from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from brainof.channels import Channels
from brainof.errors import RecordingError
from brainof.io.positions import electrode_positions
from brainof.prepare import interpolate, resample
from brainof.recording import Recording


def table(n: int = 3) -> Channels:
    positions = np.arange(3.0 * n).reshape(n, 3) / 100
    positions[1, 2] = np.nan
    return Channels(tuple("abcdef"[:n]), ("eeg",) * n, positions=positions, frame="head")


def test_to_mne_keeps_types_positions_bads_and_events():
    channels = Channels(("Fz", "Cz", "x"), ("eeg",) * 3, [[0, 0.07, 0.1], [0, 0, 0.12], [np.nan] * 3], frame="head")
    events = pd.DataFrame({"onset": [1.0, 2.5], "duration": [0.5, np.nan], "trial_type": ["a", "b"]})
    data = np.random.default_rng(0).normal(0, 1e-5, (3, 512)).astype(np.float32)
    raw = Recording(data, 128.0, "eeg", channels, events=events, bads=("Cz",)).to_mne()
    np.testing.assert_array_equal(raw.get_data(), data.astype(np.float64))
    assert raw.info["bads"] == ["Cz"]
    np.testing.assert_allclose(raw.info["chs"][1]["loc"][:3], [0, 0, 0.12])
    assert not np.nan_to_num(raw.info["chs"][2]["loc"][:3]).any()
    assert list(raw.annotations.description) == ["a", "b"]
    np.testing.assert_allclose(raw.annotations.onset, [1.0, 2.5])


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
def test_plots_are_figures_and_a_notebook_shows_a_table(modality):
    kind = {"eeg": "eeg", "fmri": "roi"}[modality]
    data = np.random.default_rng(0).normal(0, 1e-5, (3, 256)).astype(np.float32)
    recording = Recording(data, 64.0, modality, Channels(("a<b>", "b", "c"), (kind,) * 3)).noted("cut")
    figure = recording.plot()
    labels = [axes.get_xlabel().lower() for axes in figure.axes]
    assert any("time (s)" in label for label in labels), labels
    table = recording._repr_html_()
    assert "a&lt;b&gt;" in table
    assert "cut" in table


def test_mne_holds_no_fmri():
    with pytest.raises(RecordingError, match="MNE holds no fMRI"):
        Recording(np.zeros((1, 9)), 0.5, "fmri", Channels(("a",), ("roi",))).to_mne()


def test_half_a_position_is_unknown():
    assert table().located.tolist() == [True, False, True]
    assert np.isnan(table().positions[1]).all()


def test_table_survives_json_and_digest_follows_content():
    channels = table()
    again = Channels.from_dict(json.loads(json.dumps(channels.to_dict())))
    assert again.digest == channels.digest
    assert again.take([2, 0]).names == ("c", "a")
    assert again.take([2, 0]).digest != channels.digest
    np.testing.assert_array_equal(again.positions, channels.positions)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"names": ("a", "a"), "types": ("eeg", "eeg")}, "channels.names"),
        ({"names": ("a",), "types": ("volt",)}, "channels.types"),
        ({"names": ("a",), "types": ("eeg",), "positions": np.zeros((2, 3))}, "channels.positions"),
    ],
)
def test_bad_tables_are_refused(arguments, field):
    with pytest.raises(RecordingError, match=field):
        Channels(**arguments)


def test_pick_keeps_order_and_bads():
    recording = Recording(np.arange(12.0).reshape(3, 4), 2.0, "eeg", table(), bads=("a", "b"))
    picked = recording.pick(["c", "b"])
    assert picked.channels.names == ("c", "b")
    assert picked.bads == ("b",)
    assert picked.data[0, 0] == 8
    assert (recording.duration, recording.t_r) == (2.0, 0.5)
    with pytest.raises(RecordingError, match="no channel 'd'"):
        recording.pick(["d"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"modality": "egg"}, "modality"),
        ({"data": np.zeros((2, 4))}, "data"),
        ({"data": np.zeros((3, 4), dtype=int)}, "data"),
        ({"sfreq": 0.0}, "sfreq"),
        ({"modality": "meg"}, "a: a eeg channel in meg data"),
        ({"events": pd.DataFrame({"onset": []})}, "events"),
    ],
)
def test_impossible_recordings_are_refused(change, field):
    with pytest.raises(RecordingError, match=field):
        Recording(**{"data": np.zeros((3, 4)), "sfreq": 1.0, "modality": "eeg", "channels": table(), **change})


def test_notes_accumulate():
    recording = Recording(np.zeros((3, 4)), 1.0, "eeg", table()).noted("one").noted("two")
    assert recording.notes == ["one", "two"]


def test_resample_is_the_step_of_the_chain():
    recording = Recording(np.sin(np.arange(400.0) / 10)[None].repeat(3, 0), 200.0, "eeg", table())
    slower = resample(recording, 100.0)
    assert (slower.sfreq, slower.n_times) == (100.0, 200)
    np.testing.assert_allclose(slower.data[:, 10:-10], recording.data[:, ::2][:, 10:-10], atol=1e-3)
    with pytest.raises(RecordingError, match="sfreq"):
        resample(recording, 0)


def test_reorder_refuses_regions_it_does_not_know():
    recording = Recording(np.zeros((2, 4)), 0.5, "fmri", Channels(("a", "q"), ("roi",) * 2))
    with pytest.raises(RecordingError, match="no region 'q'"):
        recording.reorder(["a", "b"])


def test_interpolated_electrodes_are_estimated_from_the_others():
    rng = np.random.default_rng(0)
    names = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "Fz", "Cz", "Pz")
    places = electrode_positions(names)
    data = places @ rng.standard_normal((3, 200))  # a smooth field
    truth = data[11].copy()
    data[11] = 50 * rng.standard_normal(200)
    recording = Recording(data, 100.0, "eeg", Channels(names, ("eeg",) * 13, places, frame="head"), bads=("Cz", "O1"))
    cured = interpolate(recording)
    assert cured.bads == ()
    assert np.corrcoef(cured.data[11], truth)[0, 1] > 0.95
    np.testing.assert_array_equal(np.delete(cured.data, [8, 11], 0), np.delete(data, [8, 11], 0))
    assert recording.data[11, 0] == data[11, 0]
    nowhere = recording.replace(channels=Channels(names, ("eeg",) * 13))
    with pytest.raises(RecordingError, match="Fp1: has no position"):
        interpolate(nowhere)
    with pytest.raises(RecordingError, match="fmri is not interpolated"):
        interpolate(Recording(np.zeros((1, 9)), 1.0, "fmri", Channels(("a",), ("roi",)), bads=("a",)))


def test_a_type_stands_for_all_of_its_channels(make):
    recording = make(np.arange(12.0).reshape(4, 3), kind=("mag", "grad", "mag", "grad"))
    assert recording.pick(["mag"]).channels.names == ("c0", "c2")
    np.testing.assert_array_equal(recording.pick(["grad", "c0"]).data[:, 0], [3, 9, 0])
    assert recording.pick(["c3", 1]).channels.names == ("c3", "c1")
    with pytest.raises(RecordingError, match="no channel 'magg'; did you mean 'mag'"):
        recording.pick(["magg"])
    with pytest.raises(RecordingError, match="no channel 'axial'; known: c0, c1, c2, c3, grad, mag"):
        recording.pick(["axial"])
