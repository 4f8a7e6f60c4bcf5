from __future__ import annotations

import mne
import nibabel as nib
import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import read
from brainof.io.names import (
    drops_of_nothing,
    electrodes_of,
    is_lettered_cap,
    kept,
    kind_of_name,
    renamed,
    unique,
    without_common_reference,
)
from brainof.io.options import ReadOptions


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ECG ECG", "ecg"),
        ("EEG EKG1-REF", "ecg"),
        ("HEOG", "eog"),
        ("EOG1", "eog"),
        ("HEOGL", "eog"),
        ("LEOG", "eog"),
        ("VEOGD", "eog"),
        ("EOGli", "eog"),
        ("E1-M2", "eog"),
        ("EEG E2-M1", "eog"),
        ("E2-Cz", None),
        ("EXG1", "misc"),
        ("Plet", "misc"),
        ("Erg1", "misc"),
        ("EEG LOC-REF", "eog"),
        ("EMGleft", "emg"),
        ("Resp thorax", "resp"),
        ("SpO2", "misc"),
        ("Right AUX", "misc"),
        ("acc2", "misc"),
        ("Status", "stim"),
        ("Fp1", None),
        ("EEG A2-A1", None),
        ("E1", None),
        ("POz", None),
        ("LEFT", None),
    ],
)
def test_kind_of_name(name, kind):
    assert kind_of_name(name) == kind


@pytest.mark.parametrize(
    ("name", "electrodes"),
    [
        ("Fc5.", ("Fc5",)),
        ("Cz..", ("Cz",)),
        ("EEG FP1-REF", ("FP1",)),
        ("EEG T3-LE", ("T3",)),
        ("C3-A2", ("C3",)),
        ("C4:M1", ("C4",)),
        ("EEG Fpz-Cz", ("Fpz", "Cz")),
        ("FP1-F7", ("FP1", "F7")),
        ("EEG A2-A1", ("A2", "A1")),
        ("EEG A1-Ref", ("A1",)),
        ("M2-LE", ("M2",)),
        ("M1-M2", ("M1", "M2")),
    ],
)
def test_electrodes_of(name, electrodes):
    assert electrodes_of(name) == electrodes


def test_a_shared_second_electrode_is_a_reference():
    leads = [electrodes_of(f"{name}-Cz") for name in ("Fp1", "F3", "O1", "T3")]
    assert without_common_reference(leads) == [("Fp1",), ("F3",), ("O1",), ("T3",)]
    chain = [electrodes_of(name) for name in ("FP1-F7", "F7-T7", "T7-P7", "P7-O1")]
    assert without_common_reference(chain) == chain


def test_lettered_caps_are_told_from_ears():
    assert is_lettered_cap(["A1", "A2", "A3", "B1"])
    assert not is_lettered_cap(["A1", "A2", "C3", "F7"])


def test_unique_numbers_repeated_names():
    assert unique(["a", "b", "a"]) == ["a-0", "b", "a-1"]


def test_rename_then_drop_then_pick():
    options = ReadOptions(rename={"^EEG ": "", r"\.+$": ""}, drop=("A2-A1",), pick=("F*", "Cz"))
    names = renamed(["EEG Fz", "Cz..", "EEG A2-A1", "O1"], options, None)
    assert names == ["Fz", "Cz", "A2-A1", "O1"]
    assert kept(names, options, None) == [0, 1]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"channel_names": ["a"]}, "1 names for 2 channels"),
        ({"rename": {".+": "x"}}, "two channels are called 'x'"),
        ({"rename": {"(": "x"}}, "rename"),
    ],
)
def test_wrong_renames_are_refused(options, word):
    with pytest.raises(ReadError, match=word):
        renamed(["Fz", "Cz"], ReadOptions.parse(options), "rec.edf")


def test_a_pick_that_is_not_there_suggests_the_nearest():
    with pytest.raises(ReadError, match="did you mean 'Fp1'"):
        kept(["Fp1", "Cz"], ReadOptions(pick=("Fp11",)), "rec.edf")


@pytest.mark.parametrize("name", ["LO1", "IO2", "SO1", "HEOR", "VEOL", "EYEL", "Eye_R", "HEOGli", "EOG-L"])
def test_eyes_of_public_data(name):
    assert kind_of_name(name) == "eog"


@pytest.mark.parametrize("name", ["O1", "Oz", "PO7", "CPz", "E1", "E25", "AF7", "Iz", "T7", "M1"])
def test_electrodes_are_no_eyes(name):
    assert kind_of_name(name) is None


def test_channels_are_picked_and_dropped_by_type_too():
    names, types = ["M1", "G1", "grad", "E1"], ["mag", "grad", "mag", "eeg"]

    def left(known, **options):
        return [names[i] for i in kept(names, ReadOptions(**options), None, known)]

    assert left(types, pick="mag") == ["M1", "grad"]
    assert left(types, pick=["grad", "E*"]) == ["G1", "grad", "E1"]  # a type, and a channel of that name
    assert left(types, drop="eeg") == ["M1", "G1", "grad"]
    assert left(None, pick="mag", drop="eeg") == names  # types are not known yet
    with pytest.raises(ReadError, match="pick: no channel 'axial'; known: .*, mag"):
        left(types, pick="axial")
    with pytest.raises(ReadError, match="no channel 'magg'; did you mean 'mag'"):
        left(types, pick="magg")


def test_what_is_to_be_dropped_and_is_not_there_is_noted():
    names, options = ["Fp1", "EOG-L", "Cz"], ReadOptions(drop=("EOG*", "Fp11", "X*", "mag", "eeg"))
    near, far, mag = (
        "no channel 'Fp11' to drop; did you mean 'Fp1'?",
        "no channel 'X*' to drop",
        "no channel 'mag' to drop",
    )
    assert drops_of_nothing(names, options, ["eeg", "eog", "eeg"]) == [near, far, mag]
    assert drops_of_nothing(names, options) == [near, far]  # types are not known yet


def test_a_word_of_drop_without_a_channel_is_noted_by_every_reader(tmp_path):
    """EDF, a Raw, a table of electrodes and one of regions, a NIfTI; channels that reading leaves out are channels."""
    rng, raw = np.random.default_rng(0), mne.create_info(["Cz", "EOG1", "Trigger"], 100.0, ["eeg", "eog", "stim"])
    raw = mne.io.RawArray(1e-5 * rng.standard_normal((3, 500)) * [[1], [1], [0]], raw, verbose="ERROR")
    mne.export.export_raw(tmp_path / "a.edf", raw, verbose="ERROR")
    raw.save(tmp_path / "a_raw.fif", verbose="ERROR")
    np.savetxt(tmp_path / "a.csv", rng.normal(0, 20, (300, 2)), delimiter=",", header="Cz,EOG1", comments="")
    np.save(tmp_path / "a.npy", rng.normal(size=(30, 5)))
    labels = np.arange(1, 5, dtype=np.int16).reshape(2, 2, 1)
    nib.save(nib.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])), tmp_path / "labels.nii")
    image = nib.Nifti1Image(rng.normal(1000, 10, (2, 2, 1, 20)).astype(np.float32), np.diag([3.0, 3, 3, 1]))
    image.header.set_zooms((3, 3, 3, 2))
    nib.save(image, tmp_path / "a.nii")
    for name, options in (
        ("a.edf", {}),
        ("a_raw.fif", {}),
        ("a.csv", {"sfreq": 100, "units": "uV"}),
        ("a.npy", {"t_r": 2.0, "time_axis": 0}),
        ("a.nii", {"t_r": 2.0, "atlas": {"image": "labels.nii"}}),
    ):
        there = [] if name in ("a.npy", "a.nii") else ["EOG*"]
        notes = read(tmp_path / name, **options, drop=["Y*", "mag", *there]).notes
        said = [note for note in notes if "to drop" in note]
        assert said == ["no channel 'Y*' to drop", "no channel 'mag' to drop"], name
