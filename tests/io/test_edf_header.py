"""Rows 1-9 of the table of bad inputs: damaged EDF files."""

from __future__ import annotations

import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import ReadOptions, read
from brainof.io.edf import read_edf_header

N = 4  # three signals and the annotations
LABELS, UNITS, PMIN, PMAX, DMIN, DMAX = (256 + N * start for start in (0, 96, 104, 112, 120, 128))


def test_header_fields(edf):
    header = read_edf_header(edf())
    assert [signal.label for signal in header.signals] == ["Fp1", "C3", "O2", "EDF Annotations"]
    assert header.signals[1].rate == 100
    assert header.signals[1].has_range
    assert header.records_there == 6
    assert not header.truncated


def test_row_1_a_cut_file_is_read_and_said_to_be_cut(edf):
    size = edf().stat().st_size
    recording = read(edf(keep=int(size * 0.6)))
    assert recording.provenance["truncated"] is True
    assert recording.n_times < 600
    assert any("cut" in note for note in recording.notes)


def test_row_4_a_wrong_record_count_is_noted(edf):
    recording = read(edf(patches=[(236, b"-1      ")]))
    assert recording.n_times == 600
    assert any("-1" in note for note in recording.notes)
    assert read(edf(patches=[(236, b"99999999")])).provenance["truncated"] is True


@pytest.mark.parametrize(
    ("make", "word"),
    [
        ({"keep": 256 * (N + 1)}, "empty recording"),
        ({"keep": 0}, "is empty"),
        ({"keep": 100}, "100 bytes"),
        ({"patches": [(252, b"9999")]}, "header says 9999 signals"),
        ({"patches": [(252, b"0   ")]}, "header says 0 signals"),
        ({"patches": [(252, b"xx  ")]}, "number of signals"),
        ({"patches": [(244, b"0       ")]}, "record duration.*sfreq"),
        ({"patches": [(UNITS, b"furlong ")]}, "unit of Fp1: unknown unit 'furlong'"),
    ],
)
def test_rows_2_3_5_7_8_are_refused_in_one_line(edf, make, word):
    path = edf(**make)
    with pytest.raises(ReadError, match=word) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", [(PMIN, PMAX), (DMIN, DMAX)])
def test_row_6_a_channel_without_a_range_is_left_out(edf, start):
    recording = read(edf(patches=[(place, b"5       ") for place in start]))
    assert recording.channels.names == ("C3", "O2")
    assert any("minimum equals" in note and "Fp1" in note for note in recording.notes)


@pytest.mark.parametrize(("unit", "factor"), [(b"nV      ", 1e-9), (b"mV      ", 1e-3), (b"V       ", 1.0)])
def test_row_7_units_that_mne_does_not_know_are_scaled(edf, microvolts, unit, factor):
    recording = read(edf(patches=[(UNITS + 8 * row, unit) for row in range(3)]))
    np.testing.assert_allclose(recording.data, microvolts * factor, atol=0.01 * factor)
    assert any("unit is wrong" in note for note in recording.notes)


def test_row_9_repeated_names_are_numbered_and_have_no_position(edf):
    recording = read(edf(labels=("C3", "C3", "O2")))
    assert recording.channels.names == ("C3-0", "C3-1", "O2")
    assert recording.channels.located.tolist() == [False, False, True]
    assert any("occur twice" in note for note in recording.notes)


def test_units_and_rate_can_be_overridden(edf, microvolts):
    recording = read(edf(patches=[(UNITS, b"furlong ")]), options=ReadOptions(units={"Fp1": "uV"}, sfreq=200))
    np.testing.assert_allclose(recording.data[0], microvolts[0] * 1e-6, atol=1e-8)
    assert recording.sfreq == 200
    assert recording.events.onset.tolist() == [0.5]


def test_breathing_and_heart_are_left_out_by_unit_and_name(edf):
    recording = read(edf(labels=("Cz", "X7", "ECG"), units=["uV", "degC", "uV"]))
    assert recording.channels.names == ("Cz",)
    with pytest.raises(ReadError, match="no EEG channel"):
        read(edf(labels=("ECG",)))
