"""`brainof index` on a folder with a dataset and its derivative."""

from __future__ import annotations

import json

import pytest

from brainof.cli import main


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "ds"
    for name, derivative in (("ds", False), ("ds/derivatives/fmriprep", True)):
        (tmp_path / name).mkdir(parents=True)
        values = {"Name": "Toy", "BIDSVersion": "1.8.0"}
        values |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": "fMRIPrep"}]} if derivative else {}
        (tmp_path / name / "dataset_description.json").write_text(json.dumps(values))
    for subject in ("01", "02"):
        (root / f"sub-{subject}/ses-1/eeg").mkdir(parents=True)
        (root / f"sub-{subject}/ses-1/eeg/sub-{subject}_ses-1_task-rest_eeg.edf").write_bytes(b"x")
        func = root / f"derivatives/fmriprep/sub-{subject}/func"
        func.mkdir(parents=True)
        (func / f"sub-{subject}_task-rest_space-MNI152NLin6Asym_res-2_desc-preproc_bold.nii.gz").write_bytes(b"x")
    (root / "sub-02/ses-1/eeg/sub-02_ses-1_task-nback_eeg.edf").write_bytes(b"")
    (root / "sub-02/ses-1/eeg/sub-02_ses-1_task-gone_eeg.edf").symlink_to(tmp_path / "annex")
    return root


def test_json_lists_what_is_there_and_what_cannot_be_used(folder, capsys):
    assert main(["index", str(folder), "--json"]) == 0
    raw, derivative = sorted(json.loads(capsys.readouterr().out)["datasets"], key=lambda one: bool(one["derivative"]))
    assert (raw["subjects"], raw["sessions"]) == (["01", "02"], ["1"])
    assert set(raw["tasks"]) >= {"rest"}
    problems = {problem["file"].split("/")[-1]: problem["problem"] for problem in raw["problems"]}
    assert set(problems) == {"sub-02_ses-1_task-nback_eeg.edf", "sub-02_ses-1_task-gone_eeg.edf"}
    assert raw["missing"] == 1
    assert derivative["generated_by"] == ["fMRIPrep"]
    (form,) = derivative["forms"]
    assert (form["recordings"], form["modality"], form["space"]) == (2, "fmri", "MNI152NLin6Asym")


def test_broken_json_is_listed_and_the_rest_is_counted(folder, capsys):
    (folder / "task-rest_eeg.json").write_text('{"SamplingFrequency": ')
    (folder / "sub-01/ses-1/eeg/sub-01_ses-1_task-rest_eeg.json").write_text("[" * 100_000)
    (folder / "sub-02/ses-1/eeg/sub-02_ses-1_task-rest_eeg.json").write_text("[1]")
    (folder / "participants.json").write_text('{"age": {}}')
    (folder / "dataset_description.json").write_text("[" * 100_000)
    assert main(["index", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "recordings 4 eeg .edf" in shown
    for line in (
        "task-rest_eeg.json: cannot be read (Expecting value",
        "sub-01/ses-1/eeg/sub-01_ses-1_task-rest_eeg.json: cannot be read (nested too deep)",
        "sub-02/ses-1/eeg/sub-02_ses-1_task-rest_eeg.json: cannot be read (it holds no keys)",
        ".: dataset_description.json cannot be read (nested too deep)",
    ):
        assert f"    {line}" in shown
    assert "problems   6 " in shown
    assert "participants.json" not in shown


def test_text_shortens_problems(folder, capsys, monkeypatch):
    monkeypatch.setattr("brainof.cli.index._PROBLEMS", 1)
    assert main(["index", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "subjects   2: 01, 02" in shown
    assert "(1 not downloaded)" in shown
    assert "and 1 more (--json lists all)" in shown
    assert "derivative by fMRIPrep" in shown


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["index", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
