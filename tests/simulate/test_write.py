from __future__ import annotations

import errno
import json
import shutil
import subprocess

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml

from brainof.cli import main
from brainof.errors import ConfigError
from brainof.simulate import CohortParameters, simulate_subject
from brainof.simulate.bids import write_brainvision
from brainof.simulate.write import write

TINY = CohortParameters.parse(
    {
        "subjects": 2,
        "channels": 19,
        "meg": "neuromag102",
        "seconds": 16,
        "block": 8,
        "sfreq": 128,
        "fmri_blocks": 2,
        "fmri_block_volumes": 64,
        "sources": {"regions": 24},
    }
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write(TINY, tmp_path_factory.mktemp("simulated") / "cohort", nifti=True, truth=True)


@pytest.fixture(scope="module")
def made():
    return simulate_subject(TINY, 1)


def test_tree_is_complete_and_nothing_temporary_remains(root):
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    stem = "sub-002_task-blocks"
    assert {
        "dataset_description.json",
        "participants.tsv",
        "README",
        f"sub-002/eeg/{stem}_eeg.vhdr",
        f"sub-002/eeg/{stem}_eeg.vmrk",
        f"sub-002/eeg/{stem}_eeg.eeg",
        f"sub-002/eeg/{stem}_eeg.json",
        f"sub-002/eeg/{stem}_channels.tsv",
        f"sub-002/eeg/{stem}_events.tsv",
        "sub-002/eeg/sub-002_space-CapTrak_electrodes.tsv",
        f"sub-002/meg/{stem}_meg.fif",
        f"sub-002/meg/{stem}_channels.tsv",
        f"sub-002/func/{stem}_bold.nii.gz",
        f"sub-002/func/{stem}_bold.json",
        f"derivatives/parcellated/sub-002/func/{stem}_seg-simulated24_timeseries.tsv",
        "derivatives/parcellated/atlas.tsv",
        "derivatives/parcellated/dataset_description.json",
        "derivatives/truth/sub-002_truth.npz",
        "recipe_eeg.yaml",
        "recipe_meg.yaml",
        "recipe_fmri.yaml",
        "recipe_fmri_image.yaml",
    } <= found
    assert not (root / ".partial").exists()
    assert json.loads((root / "dataset_description.json").read_text())["BIDSVersion"]


def test_eeg_reads_back_through_mne(root, made):
    raw = mne.io.read_raw_brainvision(root / "sub-002/eeg/sub-002_task-blocks_eeg.vhdr", preload=True, verbose="error")
    assert raw.info["sfreq"] == 128
    assert tuple(raw.ch_names) == made.eeg.channels.names
    np.testing.assert_allclose(raw.get_data(), made.eeg.data, atol=1e-11)
    kinds = [text for text in raw.annotations.description if text.startswith("Comment")]
    assert len(kinds) == len(made.eeg.events)
    electrodes = pd.read_csv(root / "sub-002/eeg/sub-002_space-CapTrak_electrodes.tsv", sep="\t")
    np.testing.assert_allclose(electrodes[["x", "y", "z"]], made.eeg.channels.positions, atol=1e-6)


def test_meg_reads_back_through_mne(root, made):
    raw = mne.io.read_raw_fif(root / "sub-002/meg/sub-002_task-blocks_meg.fif", preload=True, verbose="error")
    np.testing.assert_array_equal(raw.get_data().astype(np.float32), made.meg.data)
    (system,) = (root / "sub-002/meg").glob("*_coordsystem.json")
    assert json.loads(system.read_text())["MEGCoordinateSystem"] == "ElektaNeuromag"
    places = np.array([channel["loc"][:3] for channel in raw.info["chs"]])
    transform = raw.info["dev_head_t"]["trans"]
    np.testing.assert_allclose(places @ transform[:3, :3].T + transform[:3, 3], made.meg.channels.positions, atol=1e-6)
    assert tuple(raw.info["bads"]) == made.meg.bads


def test_bold_table_and_image_agree(root, made):
    folder = root / "derivatives" / "parcellated"
    name = "sub-002_task-blocks_seg-simulated24_timeseries"
    table = pd.read_csv(folder / f"sub-002/func/{name}.tsv", sep="\t")
    np.testing.assert_allclose(table.to_numpy().T, made.fmri.data, atol=0.006)
    assert tuple(table.columns) == made.fmri.channels.names
    assert json.loads((folder / f"sub-002/func/{name}.json").read_text())["RepetitionTime"] == 1.0
    image = nibabel.load(root / "sub-002/func/sub-002_task-blocks_bold.nii.gz")
    labels = np.asarray(nibabel.load(folder / "atlas_space-MNI152.nii.gz").dataobj)
    assert image.shape == (*labels.shape, made.fmri.n_times)
    assert image.header.get_zooms()[3] == 1.0
    values = np.asarray(image.dataobj)
    means = np.array([values[labels == label].mean(axis=0) for label in range(1, 25)])
    assert np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(means, made.fmri.data, strict=True)]) > 0.8
    atlas = pd.read_csv(folder / "atlas.tsv", sep="\t")
    np.testing.assert_allclose(atlas[["x", "y", "z"]] / 1000, made.fmri.channels.positions, atol=1e-6)


def test_any_set_of_regions_reads_back(tmp_path):
    """Table and painted image of a subset give the Recording that was simulated."""
    from brainof.io import read
    from brainof.io.options import ReadOptions

    some = TINY.replaced(["subjects=1", "modalities=[fmri]", "rois=[default, L_visual_1]"])
    root = write(some, tmp_path / "cohort", nifti=True)
    made = simulate_subject(some, 0).fmri
    for name in ("recipe_fmri", "recipe_fmri_image"):
        recipe = yaml.safe_load((root / f"{name}.yaml").read_text())
        path = root / recipe["files"][0]["pattern"].replace("{subject}", "001").replace("{task}", "blocks")
        again = read(path, modality="fmri", options=ReadOptions.parse(recipe["read"]), root=root)
        assert again.channels.names == made.channels.names
        assert again.channels.atlas == made.channels.atlas
        np.testing.assert_array_equal(again.channels.labels, made.channels.labels)
        np.testing.assert_array_equal(again.channels.order, made.channels.order)
        assert np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(again.data, made.data, strict=True)]) > 0.8


def test_edf_reads_back(tmp_path, made):
    pytest.importorskip("edfio")
    root = write(TINY.replaced(["modalities=[eeg]"]), tmp_path / "cohort", eeg_format="edf")
    raw = mne.io.read_raw_edf(root / "sub-002/eeg/sub-002_task-blocks_eeg.edf", preload=True, verbose="error")
    assert raw.info["sfreq"] == 128
    assert tuple(raw.ch_names) == made.eeg.channels.names
    step = np.ptp(made.eeg.data) / 2**16
    np.testing.assert_allclose(raw.get_data(), made.eeg.data, atol=2 * step)
    assert yaml.safe_load((root / "recipe_eeg.yaml").read_text())["files"][0]["pattern"].endswith("_eeg.edf")
    assert main(["prepare", str(root / "recipe_eeg.yaml"), "--root", str(root), "--out", str(tmp_path / "corpus")]) == 0
    with pytest.raises(ConfigError, match="did you mean 'edf'"):
        write(TINY, tmp_path / "other", eeg_format="edf+")


#: keys that the standard requires of a sidecar
REQUIRED = {
    "eeg": {"TaskName", "SamplingFrequency", "EEGReference", "PowerLineFrequency", "SoftwareFilters"},
    "meg": {
        *("TaskName", "SamplingFrequency", "PowerLineFrequency", "SoftwareFilters"),
        *("DewarPosition", "DigitizedLandmarks", "DigitizedHeadPoints"),
    },
    "bold": {"TaskName", "RepetitionTime"},
}


@pytest.mark.parametrize("kind", REQUIRED)
def test_sidecars_hold_what_the_standard_requires(root, kind):
    folder = "func" if kind == "bold" else kind
    sidecar = json.loads((root / f"sub-002/{folder}/sub-002_task-blocks_{kind}.json").read_text())
    assert REQUIRED[kind] <= set(sidecar)
    described = json.loads((root / "task-blocks_events.json").read_text())
    events = pd.read_csv(root / f"sub-002/{folder}/sub-002_task-blocks_events.tsv", sep="\t")
    assert list(events.columns[:2]) == ["onset", "duration"]
    assert set(events.columns[2:]) <= set(described)
    assert set(events.trial_type) <= set(described["trial_type"]["Levels"])


@pytest.mark.skipif(shutil.which("bids-validator-deno") is None, reason="the BIDS validator is not installed")
@pytest.mark.parametrize("eeg_format", ["brainvision", "edf"])
def test_the_bids_validator_finds_no_error(tmp_path, eeg_format):
    root = write(TINY, tmp_path / "cohort", nifti=True, truth=True, eeg_format=eeg_format)
    for folder in (root, root / "derivatives" / "parcellated"):
        command = ["bids-validator-deno", str(folder), "--format", "json"]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        assert [issue for issue in found["issues"]["issues"] if issue["severity"] == "error"] == []
        assert sorted(found["summary"]["subjects"]) == ["001", "002"]


def test_truth_is_written(root, made):
    with np.load(root / "derivatives/truth/sub-002_truth.npz") as archive:
        np.testing.assert_array_equal(archive["sources"], made.truth.sources)
        assert archive["block_state"].tolist() == made.truth.timeline.blocks.trial_type.tolist()


@pytest.mark.parametrize("modality", ["eeg", "meg", "fmri", "fmri_image"])
def test_recipe_names_files_that_exist(root, modality):
    recipe = yaml.safe_load((root / f"recipe_{modality}.yaml").read_text())
    pattern = recipe["files"][0]["pattern"].replace("{task}", "blocks")
    assert (root / pattern.replace("{subject}", "001")).is_file()
    assert (root / recipe["events"]["file"].replace("{subject}", "001")).is_file()
    people = pd.read_csv(root / "participants.tsv", sep="\t", dtype=str)
    assert {"participant_id", "group", "site", "sex", "age"} <= set(people.columns)
    window = recipe["tasks"]["rest_vs_task"]["windows"]
    events = pd.read_csv(root / recipe["events"]["file"].replace("{subject}", "001"), sep="\t")
    labelled = events[events.trial_type.isin(window["events"])]
    assert (labelled.duration == window["tmax"]).all()
    assert labelled.trial_type.value_counts().nunique() == 1  # balanced


def test_an_interrupted_cohort_continues(root, tmp_path, monkeypatch):
    out = tmp_path / "cohort"

    def fails_at_the_second(parameters: CohortParameters, index: int):
        if index == 1:
            raise RuntimeError("killed")
        return simulate_subject(parameters, index)

    with monkeypatch.context() as patch:
        patch.setattr("brainof.simulate.write.simulate_subject", fails_at_the_second)
        with pytest.raises(RuntimeError, match="killed"):
            write(TINY, out, nifti=True, truth=True)
    kept = (out / "sub-001/eeg/sub-001_task-blocks_eeg.eeg").stat().st_mtime_ns
    (out / ".partial" / "sub-002").mkdir(parents=True)  # what a killed writer leaves
    write(TINY, out, nifti=True, truth=True)
    assert (out / "sub-001/eeg/sub-001_task-blocks_eeg.eeg").stat().st_mtime_ns == kept
    for path in root.rglob("*"):
        if path.suffix in (".eeg", ".tsv", ".yaml"):
            assert (out / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("brainof.simulate.bids.write_sensors", full)
    assert main(["simulate", "--subjects", "1", "--modalities", "eeg", "--out", str(tmp_path / "cohort")]) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("brainof: ")]
    assert str(tmp_path / "cohort") in line
    assert "No space left on device" in line


def test_other_folders_are_refused(root, tmp_path):
    with pytest.raises(ConfigError, match="other parameters"):
        write(TINY.replaced(["seed=9"]), root)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        write(TINY, tmp_path)


def test_command_line(tmp_path, capsys):
    out = tmp_path / "cohort"
    options = ["--subjects", "1", "--modalities", "fmri", "--out", str(out), "fmri_blocks=0", "seconds=60"]
    assert main(["simulate", *options]) == 0
    assert "recipe_fmri.yaml" in capsys.readouterr().out
    assert main(["simulate", "--out", str(tmp_path / "other"), "t_r=0"]) == 2
    assert "t_r" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert main(["simulate", "--out", str(tmp_path / "other"), "--modalities", "eeg,ecog"]) == 2
    assert main(["simulate", "--out", str(tmp_path / "other"), "effects.state_strengh=1"]) == 2
    assert "state_strength" in capsys.readouterr().err


@pytest.mark.parametrize("sfreq", [128, 250, 1000])
def test_brainvision_keeps_the_rate(tmp_path, made, sfreq):
    path = tmp_path / "a_eeg.vhdr"
    write_brainvision(made.eeg.replace(sfreq=float(sfreq)), path)
    assert mne.io.read_raw_brainvision(path, verbose="error").info["sfreq"] == pytest.approx(sfreq, rel=1e-9)


def test_recipes_prepare_without_code(root, made, tmp_path):
    """The whole reading path: files -> Recording -> windows with labels."""
    from brainof.corpus import Corpus
    from brainof.io import read

    again = read(root / "sub-002/eeg/sub-002_task-blocks_eeg.vhdr")
    np.testing.assert_allclose(again.data, made.eeg.data, atol=1e-11)
    np.testing.assert_allclose(again.channels.positions, made.eeg.channels.positions, atol=1e-9)
    again = read(root / "sub-002/meg/sub-002_task-blocks_meg.fif")
    assert again.channels.digest == made.meg.channels.digest
    for modality in ("eeg", "meg", "fmri"):
        options = ["--root", str(root), "--out", str(tmp_path / "corpus")]
        assert main(["prepare", str(root / f"recipe_{modality}.yaml"), *options]) == 0
    index = Corpus(tmp_path / "corpus").index
    labelled = index[index["view"] == "rest_vs_task"]
    assert set(labelled["modality"]) == {"eeg", "meg", "fmri"}
    assert set(labelled["label.state"]) == {"rest", "task"}
    assert set(index["label.group"]) == {"control", "patient"}
