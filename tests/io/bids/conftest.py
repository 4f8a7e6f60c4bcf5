"""Miniature BIDS trees: names are what counts, files are empty or a few bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two subjects: EEG with shared JSON, split MEG and CTF MEG, BOLD, and an fMRIPrep derivative."""
    root = tmp_path / "ds"
    described = {"Name": "Toy", "BIDSVersion": "1.10.0"}
    write_json(root / "dataset_description.json", described)
    write_json(root / "task-rest_eeg.json", {"SamplingFrequency": 100, "PowerLineFrequency": 50})
    write_json(root / "task-rest_bold.json", {"RepetitionTime": 2.0})
    write_json(root / "sub-01" / "eeg" / "sub-01_task-rest_eeg.json", {"PowerLineFrequency": 60})
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t30\tF\nsub-02\tn/a\tM\n")
    for subject in ("01", "02"):
        folder = root / f"sub-{subject}"
        for name in (
            f"eeg/sub-{subject}_task-rest_eeg.vhdr",
            f"eeg/sub-{subject}_task-rest_eeg.eeg",
            f"eeg/sub-{subject}_task-rest_eeg.vmrk",
            f"meg/sub-{subject}_task-rest_split-01_meg.fif",
            f"meg/sub-{subject}_task-rest_split-02_meg.fif",
            f"meg/sub-{subject}_task-oddball_meg.ds/sub-{subject}_task-oddball_meg.meg4",
            f"func/sub-{subject}_task-rest_bold.nii.gz",
            f"anat/sub-{subject}_T1w.nii.gz",
        ):
            touch(folder / name)
    prep = root / "derivatives" / "fmriprep"
    write_json(
        prep / "dataset_description.json",
        {"Name": "prep", "DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep"}]},
    )
    for space in ("MNI152NLin2009cAsym_res-2", "MNI152NLin2009cAsym_res-1", "T1w"):
        touch(prep / "sub-01" / "func" / f"sub-01_task-rest_space-{space}_desc-preproc_bold.nii.gz")
        touch(prep / "sub-01" / "func" / f"sub-01_task-rest_space-{space}_desc-brain_mask.nii.gz")
    touch(prep / "sub-01" / "func" / "sub-01_task-rest_desc-confounds_timeseries.tsv")
    touch(prep / "sub-01" / "func" / "sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii")
    return root


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def write_json(path: Path, values: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
