from __future__ import annotations

import os
from pathlib import Path

import pytest

from brainof.errors import ConfigError, ReadError
from brainof.io.bids import index


def names(files) -> list[str]:
    return [Path(file.path).name for file in files]


def test_recordings_of_every_modality_and_nothing_else(dataset):
    raw, prep = index(dataset).datasets
    assert (raw.name, raw.derivative, prep.derivative, prep.generators) == ("Toy", None, "fmriprep", ("fMRIPrep",))
    assert names(file for file in raw.recordings if "01" in file.entities["subject"]) == [
        "sub-01_task-rest_eeg.vhdr",
        "sub-01_task-rest_bold.nii.gz",
        "sub-01_task-oddball_meg.ds",
        "sub-01_task-rest_split-01_meg.fif",
    ]
    assert [file.modality for file in raw.recordings[:4]] == ["eeg", "fmri", "meg", "meg"]
    assert raw.recordings[0].datatype == "eeg"
    assert raw.values("task") == ["oddball", "rest"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"suffix": "eeg", "sub": "02"}, ["sub-02_task-rest_eeg.vhdr"]),
        ({"suffix": "meg", "task": ["oddball", "none"], "subject": "01"}, ["sub-01_task-oddball_meg.ds"]),
        ({"suffix": "meg", "split": None, "subject": "02"}, ["sub-02_task-oddball_meg.ds"]),
        (
            {"suffix": "bold", "derivative": "fmriprep", "space": "MNI*", "res": 2},
            ["sub-01_task-rest_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz"],
        ),
        (
            {"derivative": "fMRIPrep", "den": "91k"},
            ["sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii"],
        ),
        ({"extension": ".nii.gz", "subject": "0?"}, ["sub-01_task-rest_bold.nii.gz", "sub-02_task-rest_bold.nii.gz"]),
        ({"derivative": "other"}, []),
    ],
)
def test_filters(dataset, wanted, found):
    assert names(index(dataset).select(wanted)) == found


def test_an_unknown_key_is_named(dataset):
    with pytest.raises(ConfigError, match="'subjct'.*did you mean 'subject'"):
        index(dataset).select({"subjct": "01"})


def test_metadata_is_inherited_key_by_key(dataset):
    raw = index(dataset).datasets[0]
    by_name = {file.name: file for file in raw.recordings}
    assert raw.metadata(by_name["sub-01_task-rest_eeg.vhdr"]) == {"SamplingFrequency": 100, "PowerLineFrequency": 60}
    assert raw.metadata(by_name["sub-02_task-rest_eeg.vhdr"]) == {"SamplingFrequency": 100, "PowerLineFrequency": 50}
    assert raw.metadata(by_name["sub-02_task-rest_bold.nii.gz"]) == {"RepetitionTime": 2.0}
    assert raw.metadata(by_name["sub-01_task-oddball_meg.ds"]) == {}


def test_bidsignore(dataset):
    (dataset / ".bidsignore").write_text("# comment\n*_eeg.*\nsub-02/meg/\n**/*_bold.nii.gz\n!sub-01/func/*\n")
    found = index(dataset)
    assert found.summary()["datasets"][0]["ignored"] == found.datasets[0].ignored > 3  # said, not hidden
    kept = names(found.datasets[0].recordings)
    assert kept == ["sub-01_task-rest_bold.nii.gz", "sub-01_task-oddball_meg.ds", "sub-01_task-rest_split-01_meg.fif"]


def test_links(dataset, tmp_path):
    func = dataset / "sub-01" / "func"
    (func / "sub-01_task-rest_run-9_bold.nii.gz").symlink_to("../../.git/annex/objects/gone")  # as datalad leaves it
    (func / "sub-01_task-rest_run-8_bold.nii.gz").symlink_to("sub-01_task-rest_bold.nii.gz")
    (dataset / "sub-01" / "again").symlink_to(dataset / "sub-01", target_is_directory=True)
    outside = tmp_path / "outside"
    (outside / "eeg").mkdir(parents=True)
    (outside / "eeg" / "sub-03_task-rest_eeg.edf").write_text("x")
    (dataset / "sub-03").symlink_to(outside, target_is_directory=True)
    raw = index(dataset).datasets[0]
    state = {file.name: file.missing for file in raw.recordings}
    assert state["sub-01_task-rest_run-9_bold.nii.gz"]
    assert not state["sub-01_task-rest_run-8_bold.nii.gz"]
    assert "sub-03_task-rest_eeg.edf" not in state
    problems = dict(raw.problems())
    assert "not downloaded" in problems["sub-01/func/sub-01_task-rest_run-9_bold.nii.gz"]
    assert problems["."] == "sub-03 is a link that leaves the dataset"


def test_problems(dataset):
    eeg, meg = dataset / "sub-02" / "eeg", dataset / "sub-02" / "meg"
    (eeg / "sub-02_task-rest_eeg.eeg").unlink()
    (meg / "sub-02_task-rest_split-01_meg.fif").unlink()
    (dataset / "sub-02" / "func" / "sub-02_task-rest_bold.nii.gz").write_bytes(b"")
    problems = dict(index(dataset).datasets[0].problems())
    assert problems == {
        "sub-02/eeg/sub-02_task-rest_eeg.vhdr": "sub-02_task-rest_eeg.eeg is missing",
        "sub-02/meg/sub-02_task-rest_split-02_meg.fif": "its first part sub-02_task-rest_split-01_meg.fif is missing",
        "sub-02/func/sub-02_task-rest_bold.nii.gz": "empty (0 bytes)",
    }


def test_tables_that_reading_stops_on_are_listed(dataset):
    eeg = dataset / "sub-02" / "eeg"
    tables = {
        "sub-02_task-rest_events.tsv": b"time\ttrial_type\n1\ta\n",
        "sub-02_task-rest_channels.tsv": b"Fp1\tEEG\tuV\n",
        "sub-02_electrodes.tsv": b"name\tx\ty\nFp1\t0\t0\n",
        "sub-02_task-go_events.tsv": "onset\tduration\n1\t0\n".encode("utf-16"),
        "sub-02_task-go_channels.tsv": b"type\tname \r\nEEG\tFp1\r\n",
    }
    for name, content in tables.items():
        (eeg / name).write_bytes(content)
    assert dict(index(dataset).datasets[0].problems()) == {
        "sub-02/eeg/sub-02_task-rest_events.tsv": "no column 'onset'",
        "sub-02/eeg/sub-02_task-rest_channels.tsv": "no column 'name'",
        "sub-02/eeg/sub-02_electrodes.tsv": "no column 'z'",
    }


def test_a_folder_of_datasets_and_a_folder_of_none(dataset, tmp_path):
    assert [entry.name for entry in index(dataset.parent).datasets] == ["Toy", "prep"]
    assert index(dataset / "derivatives" / "fmriprep").datasets[0].derivative == "fmriprep"
    (tmp_path / "empty" / "notes").mkdir(parents=True)
    with pytest.raises(ReadError, match="holds no BIDS dataset"):
        index(tmp_path / "empty")


def test_bti_and_kit_folders_open_the_file_inside(dataset):
    folder = dataset / "sub-01" / "meg" / "sub-01_task-bti_meg"
    folder.mkdir()
    for name in ("c,rfDC", "config", "hs_file"):
        (folder / name).write_text("x")
    found = index(dataset).select({"task": "bti"})
    assert [os.path.relpath(file.path, folder) for file in found] == ["c,rfDC"]


def test_a_damaged_json_names_the_file(dataset):
    (dataset / "task-rest_eeg.json").write_text('{"SamplingFrequency": ')
    raw = index(dataset).datasets[0]
    with pytest.raises(ReadError, match=r"task-rest_eeg\.json: JSON: cannot be read"):
        raw.metadata(raw.recordings[0])


def test_agrees_with_a_plain_walk(dataset):
    """The same recordings as a plain walk with a regular expression over every path."""
    import re

    pattern = re.compile(r"sub-[^/]+_(eeg\.vhdr|bold\.nii\.gz|meg\.fif|bold\.dtseries\.nii)$")
    plain = sorted(
        str(path) for path in dataset.rglob("*") if pattern.search(path.name) and "split-02" not in path.name
    )
    every = [
        file.path for entry in index(dataset).datasets for file in entry.recordings if not file.path.endswith(".ds")
    ]
    assert sorted(every) == plain
