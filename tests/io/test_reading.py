from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainof.errors import ConfigError, ReadError
from brainof.io import read
from brainof.io.formats import format_of, suffix_of
from brainof.io.options import ReadOptions
from brainof.io.reading import entities_of


def test_entities_of_a_bids_name():
    path = Path("sub-02_ses-pre_task-oneback_run-1_space-MNI152_desc-preproc_bold.nii.gz")
    assert entities_of(path) == {
        "subject": "02",
        "session": "pre",
        "task": "oneback",
        "run": "1",
        "space": "MNI152",
        "description": "preproc",
    }
    assert entities_of(Path("Subject29_1.edf")) == {}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.EDF", ".edf"), ("a.nii.gz", ".nii.gz"), ("a_raw.fif.gz", ".fif.gz"), ("a.b.set", ".set"), ("c,rfDC", "")],
)
def test_suffix_of(name, suffix):
    assert suffix_of(Path(name)) == suffix


def test_partners_lead_to_their_header(tmp_path):
    for name in ("a.vhdr", "a.vmrk", "a.eeg", "b.set", "b.fdt", "c.eeg"):
        (tmp_path / name).touch()
    assert format_of(tmp_path / "a.eeg") == (tmp_path / "a.vhdr", "brainvision")
    assert format_of(tmp_path / "a.vmrk") == (tmp_path / "a.vhdr", "brainvision")
    assert format_of(tmp_path / "b.fdt") == (tmp_path / "b.set", "eeglab")
    assert format_of(tmp_path / "c.eeg")[1] == "nihon"


@pytest.mark.parametrize(
    ("name", "word"),
    [("rec.edff", "did you mean '.edf'"), ("rec", "no suffix"), ("folder.edf", "is a folder"), ("folder", "a folder")],
)
def test_unknown_formats_say_what_is_known(tmp_path, name, word):
    (tmp_path / name).mkdir() if name.startswith("folder") else (tmp_path / name).touch()
    with pytest.raises(ReadError, match=word):
        read(tmp_path / name)


def test_a_missing_file_suggests_the_nearest(tmp_path):
    (tmp_path / "Subject29_1.edf").touch()
    with pytest.raises(ReadError, match=r"file not found; did you mean 'Subject29_1\.edf'"):
        read(tmp_path / "Subject29_2.edf")
    with pytest.raises(ReadError, match="there is no folder"):
        read(tmp_path / "nowhere" / "a.edf")


def test_an_unknown_modality_is_refused(edf):
    with pytest.raises(ReadError, match="did you mean 'eeg'"):
        read(edf(), modality="eegg")


def test_events_beside_the_recording_win(edf, tmp_path):
    path = edf(name="sub-1_task-x_eeg.edf")
    assert read(path).events.trial_type.tolist() == ["left"]
    (tmp_path / "sub-1_task-x_events.tsv").write_text("onset\tduration\ttrial_type\n2\t1\tright\n")
    recording = read(path)
    assert recording.events.trial_type.tolist() == ["right"]
    assert any("instead of 1 in the file" in note for note in recording.notes)


def test_importing_the_room_imports_no_reader():
    readers = ("mne", "nilearn", "nibabel", "scipy", "h5py", "torch")
    code = f"import brainof.io, sys; print([m for m in {readers} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_options_may_be_keywords(tmp_path):
    path = tmp_path / "x.npz"
    data = np.random.default_rng(0).normal(0, 20, (2, 500))
    np.savez(path, data=data)
    options = {"sfreq": 100, "time_axis": 1, "channel_names": ["Fz", "Cz"]}
    recording = read(path, modality="eeg", options=options, units="uV")
    np.testing.assert_allclose(recording.data, 1e-6 * data, rtol=1e-6)
    assert recording.sfreq == 100
    same = read(path, modality="eeg", options=ReadOptions.parse(options), units="uV")
    assert same.channels.digest == recording.channels.digest
    with pytest.raises(ConfigError, match="did you mean 'units'"):
        read(path, unit="uV")


def test_a_folder_and_a_foreign_ending_get_no_odd_suggestion(tmp_path):
    with pytest.raises(ReadError, match="is a folder, not a recording; `brainof index` lists"):
        read(tmp_path)
    for name, message in (
        ("a.md", "unknown format '.md'; known: "),
        ("a.edff", "did you mean '.edf'"),
        ("a.nedf", "is a recording of Neuroelectrics; MNE reads it: save it as FIF with MNE"),
    ):
        (tmp_path / name).touch()
        with pytest.raises(ReadError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["edf", "npy", "csv"])
def test_confounds_of_what_is_no_image_are_refused(edf, tmp_path, kind):
    """Nobody is to believe that they were taken out."""
    path = edf() if kind == "edf" else tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, np.ones((30, 4)))
    elif kind == "csv":
        np.savetxt(path, np.ones((30, 4)), delimiter=",")
    for confounds in ({}, {"file": "moves.tsv"}):
        with pytest.raises(ReadError, match=r"confounds: are taken out of images of fMRI alone; leave it out"):
            read(path, t_r=2, time_axis=0, confounds=confounds)
