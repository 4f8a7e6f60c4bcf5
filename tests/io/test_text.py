"""Text as the field writes it: encodings, remarks, trailing separators; one decoder behind every table."""

from __future__ import annotations

import numpy as np
import pytest

from brainof.errors import LabelError, ReadError
from brainof.io import ConfoundOptions, ReadOptions, read
from brainof.io.bids.sidecars import read_json
from brainof.io.confounds import read_confounds
from brainof.io.labels import read_labels

CODES = ["utf-8", "utf-8-sig", "utf-16", "latin-1"]
EEG = {"units": "uV", "sfreq": 100.0}


@pytest.mark.parametrize("code", CODES)
def test_encodings_of_signals_labels_confounds_and_json(tmp_path, code):
    values = np.arange(12.0).reshape(4, 3) ** 2
    rows = "".join(",".join(map(str, row)) + "\n" for row in values)
    (tmp_path / "a.csv").write_bytes(("Fp1,Cz,Größe\n" + rows).encode(code))
    recording = read(tmp_path / "a.csv", modality="eeg", options=ReadOptions(**EEG))
    assert recording.channels.names == ("Fp1", "Cz", "Größe")
    np.testing.assert_allclose(recording.data, values.T * 1e-6)
    (tmp_path / "l.tsv").write_bytes("index\tname\n1\tRégion\n2\tB\n".encode(code))
    assert read_labels(tmp_path / "l.tsv")[1] == ("Région", "B")
    (tmp_path / "c.tsv").write_bytes("a\té\t\n1\tn/a\t\n2\t4\t\n3\t6\t\n".encode(code))
    table = read_confounds(ConfoundOptions(file="c.tsv"), tmp_path / "x.nii", tmp_path, 3)[0]
    assert table.to_dict("list") == {"a": [1.0, 2.0, 3.0], "é": [5.0, 4.0, 6.0]}
    (tmp_path / "j.json").write_bytes('{"Task": "é"}'.encode(code))
    assert read_json(str(tmp_path / "j.json")) == {"Task": "é"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.tsv", "", "holds no rows"),
        ("c.tsv", "a\tb\n", "holds no rows"),
        ("c.tsv", "a\tb\n1\tx\n2\t3\n3\t4\n", "confounds.b: is not numeric"),
        ("c.tsv", "a\tb\n1\t2\t3\n", "line 2 has 3 cells"),
        ("c.tsv", "a\n1\ninf\n3\n", "inf in row 2"),
    ],
)
def test_confounds_that_are_no_numbers_are_named(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises((ReadError, LabelError), match=words):
        read_confounds(ConfoundOptions(file=name), tmp_path / "x.nii", tmp_path, 3)


def test_confounds_without_a_header(tmp_path):
    (tmp_path / "rp_x.txt").write_text("  1.0  -2e-1\n 2.0 3\n 3 4\n")
    table = read_confounds(ConfoundOptions(file="rp_x.txt"), tmp_path / "x.nii", tmp_path, 3)[0]
    assert table.to_dict("list") == {"0": [1.0, 2.0, 3.0], "1": [-0.2, 3.0, 4.0]}


@pytest.mark.parametrize(
    ("remarks", "header"),
    [
        (
            "%OpenBCI Raw EXG Data\n%Number of channels = 2\n%Sample Rate = 250 Hz\n%Board = X\n",
            "Sample Index, C3, C4\n",
        ),
        ("# sampling rate: 250\n", "# Sample Index, C3, C4\n"),  # numpy.savetxt
    ],
)
def test_remarks_before_a_table(tmp_path, remarks, header):
    values = np.random.default_rng(0).normal(0, 20, (8, 2)).round(3)
    rows = "".join(f"{i}, {a}, {b}\n" for i, (a, b) in enumerate(values))
    (tmp_path / "a.txt").write_text(remarks + header + rows)
    recording = read(tmp_path / "a.txt", options=ReadOptions(units="uV"))
    assert (recording.channels.names, recording.sfreq) == (("C3", "C4"), 250)
    np.testing.assert_allclose(recording.data * 1e6, values.T, rtol=1e-5)


def test_remarks_before_numbers_alone(tmp_path):
    (tmp_path / "a.1D").write_text("# AFNI\n# 3dmaskave -mask x\n1 2\n3 4\n5 7\n")
    recording = read(tmp_path / "a.1D", options=ReadOptions(t_r=2, time_axis=0))
    np.testing.assert_array_equal(recording.data, [[1, 3, 5], [2, 4, 7]])
