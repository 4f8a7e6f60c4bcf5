"""Pauses of formats that call them by another name, or by none: each is `BAD boundary` at the first sample after it."""

from __future__ import annotations

import edfio
import mne
import numpy as np
import pandas as pd
import pytest

from brainof.io import from_mne, read
from brainof.io.events import BOUNDARY, with_boundaries
from brainof.io.mne_reader import _clock_jumps
from brainof.prepare import cut
from brainof.prepare.windows import WindowOptions

NAMES = ["Fp1", "C3", "O2"]
PLACES = np.array([[-30.0, 80, 40], [-50, 0, 90], [-20, -80, 50]])


def pauses(recording):
    return recording.events.onset[recording.events.trial_type == BOUNDARY].tolist()


@pytest.mark.parametrize(
    ("times", "there"),
    [
        ("0=36000.0", []),
        ("0=36000.0\n200=36002.0\n400=36004.02", []),  # packets a little late
        ("0=36000.0\n200=36062.0\n400=36064.0", [2.0]),
        ("0=86399.0\n200=1.0\n400=63.0", [4.0]),  # over midnight, then a minute lost
    ],
)
def test_persyst_keeps_pauses_in_its_sample_times(tmp_path, microvolts, vendor, times, there):
    recording = read(vendor.write_persyst(tmp_path / "a.lay", microvolts, NAMES, 100, times))
    assert pauses(recording) == there
    assert len(cut(recording, WindowOptions(length=3.0))) == 2 - len(there)
    np.testing.assert_allclose(recording.data * 1e6, microvolts, atol=0.051)


@pytest.mark.parametrize(("event", "there"), [(0, []), (300, [3.0])])
def test_a_run_that_begins_in_gdf_is_a_pause(tmp_path, microvolts, vendor, event, there):
    recording = read(vendor.write_gdf(tmp_path / "a.gdf", microvolts, NAMES, 100, event=event, code=32766))
    assert pauses(recording) == there
    assert len(recording.events) == 1


def test_the_epoch_bit_of_a_biosemi_status_is_a_pause(tmp_path, microvolts):
    status = np.zeros(600)
    status[:100] = status[300:350] = 0x10000  # begins, and goes on after a pause
    status[400:405] += 7
    limits = {"physical_range": (-8388608, 8388607), "digital_range": (-8388608, 8388607)}
    signals = [
        edfio.BdfSignal(row, 100, label=name, physical_dimension="uV", physical_range=(-200, 200))
        for row, name in zip(microvolts, NAMES, strict=True)
    ]
    path = tmp_path / "a.bdf"
    edfio.Bdf([*signals, edfio.BdfSignal(status, 100, label="Status", physical_dimension="Boolean", **limits)]).write(
        path
    )
    recording = read(path)
    assert pauses(recording) == [3.0]
    assert recording.events.query("trial_type == '7'").onset.tolist() == [4.0]


def test_trials_of_ctf_are_apart_where_the_clock_jumps():
    clock = np.arange(600) / 100
    clock[300:] += 99
    info = mne.create_info(["MLC11", "SCLK01"], 100.0, ["mag", "misc"])
    raw = mne.io.RawArray(np.stack([np.zeros(600), clock]), info, verbose="error")
    assert _clock_jumps(raw).tolist() == [300]
    assert _clock_jumps(raw.copy().pick(["MLC11"])).tolist() == []


def test_curry_trials_are_joined_with_boundaries(tmp_path, microvolts, vendor):
    path = vendor.write_curry(tmp_path / "x.cdt", microvolts, NAMES, 100, PLACES, trials=(1, 2, 1))
    recording = read(path)
    np.testing.assert_allclose(recording.data * 1e6, microvolts, atol=1e-3)
    rows = recording.events[["onset", "trial_type"]].to_numpy().tolist()
    assert rows == [[0.0, "kind1"], [2.0, "kind2"], [2.0, BOUNDARY], [4.0, "kind1"], [4.0, BOUNDARY]]


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1e-6), ("mV", 1e-3), ("V", 1.0)])
def test_curry_units_that_mne_does_not_know_are_scaled(tmp_path, microvolts, vendor, unit, factor):
    path = vendor.write_curry(tmp_path / "x.cdt", microvolts, NAMES, 100, PLACES, unit=unit)
    np.testing.assert_allclose(read(path).data, microvolts * factor, rtol=1e-5)


def test_skips_of_fif_files_and_joined_recordings(tmp_path, microvolts):
    info = mne.create_info(NAMES, 100.0, "eeg")
    raw = mne.io.RawArray(microvolts * 1e-6, info, verbose="error")
    skipped = raw.copy().set_annotations(mne.Annotations([2.0], [1.0], ["BAD_ACQ_SKIP"]))
    skipped.save(tmp_path / "a_raw.fif", buffer_size_sec=1.0, verbose="error")
    windows = cut(read(tmp_path / "a_raw.fif"), WindowOptions(length=1.0))
    assert [window.onset for window in windows] == [0, 1, 3, 4, 5]
    joined = mne.concatenate_raws([raw.copy(), raw.copy()], verbose="error")
    recording = from_mne(joined)
    assert recording.events[["onset", "trial_type"]].to_numpy().tolist() == [[6.0, BOUNDARY]]  # not BAD and EDGE
    assert [window.onset for window in cut(recording, WindowOptions(length=4.0))] == [0, 8]
    assert len(cut(recording, WindowOptions(length=6.0))) == 2  # one ends and one begins at the boundary itself


@pytest.mark.parametrize(
    ("name", "kind"), [("eeglab", "-99"), ("eeglab", "boundary"), ("edf", "Boundary"), ("gdf", "32766")]
)
def test_every_word_for_a_pause(name, kind):
    table = pd.DataFrame({"onset": [1.005, 2.0], "duration": [5.0, 0.0], "trial_type": [kind, "go"]})
    found = with_boundaries(table, 100.0, name)
    assert found.to_numpy().tolist() == [[1.01, 0.0, BOUNDARY], [2.0, 0.0, "go"]]
    assert with_boundaries(table, 100.0, "fif").trial_type[0] == (kind if kind[-1].isdigit() else BOUNDARY)
