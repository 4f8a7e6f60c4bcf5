from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainof.datasets.discover import discover
from brainof.datasets.job import Job
from brainof.datasets.recipe import Recipe
from brainof.errors import LabelError, ReadError
from brainof.io import ReadOptions, read
from brainof.io.confounds import cleaned, read_confounds
from brainof.io.options import ConfoundOptions

N = 60


@pytest.fixture(scope="module")
def audited():
    """A context in which the paths of opened files are collected."""
    collected: list[set[Path]] = []

    def note(event, arguments):  # stays as long as the process does
        if event == "open" and collected and isinstance(arguments[0], str):
            collected[-1].add(Path(arguments[0]))

    @contextmanager
    def collecting():
        collected.append(set())
        yield collected[-1]
        collected.clear()

    sys.addaudithook(note)
    return collecting


@pytest.fixture
def prep(tmp_path):
    """A generated fMRIPrep run with a brain mask, confounds, a sidecar TR and the raw dataset's events."""
    random = np.random.default_rng(0)
    raw = tmp_path / "ds"
    func = raw / "derivatives" / "fmriprep" / "sub-01" / "func"
    func.mkdir(parents=True)
    for root, kind in ((raw, "raw"), (raw / "derivatives" / "fmriprep", "derivative")):
        values = {"Name": kind, "BIDSVersion": "1.10.0", "DatasetType": kind}
        (root / "dataset_description.json").write_text(json.dumps(values))
    (raw / "task-rest_events.tsv").write_text("onset\tduration\ttrial_type\n3\t2\tface\n")
    regressors = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"] + [
        "csf",
        "white_matter",
        "global_signal",
    ]
    columns = [name + end for name in regressors for end in ("", "_derivative1", "_power2", "_derivative1_power2")]
    confounds = pd.DataFrame(random.normal(size=(N, 36)), columns=columns)
    derivatives = [name for name in confounds if "derivative1" in name]
    confounds.loc[0, derivatives] = np.nan
    confounds["framewise_displacement"] = [np.nan, *np.full(N - 1, 0.1)]
    confounds["std_dvars"] = [np.nan, *np.full(N - 1, 1.0)]
    confounds.loc[[20, 24], "framewise_displacement"] = 0.9
    confounds["non_steady_state_outlier00"] = (np.arange(N) == 0).astype(int)
    confounds.to_csv(func / "sub-01_task-rest_desc-confounds_timeseries.tsv", sep="\t", index=False, na_rep="n/a")
    (func / "sub-01_task-rest_desc-confounds_timeseries.json").write_text("{}")
    stem = "sub-01_task-rest_space-MNI152NLin2009cAsym_res-2_desc"
    data = random.normal(1000, 5, (8, 8, 4, N)) + 30 * confounds["trans_x"].to_numpy()
    affine = np.diag([3.0, 3, 3, 1])
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), func / f"{stem}-preproc_bold.nii.gz")
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[:4] = 1
    nib.save(nib.Nifti1Image(mask, affine), func / f"{stem}-brain_mask.nii.gz")
    (func / f"{stem}-preproc_bold.json").write_text('{"RepetitionTime": 0.8}')
    return func / f"{stem}-preproc_bold.nii.gz"


MODELS = {"basic": [""], "full": ["", "_derivative1", "_power2", "_derivative1_power2"]}
FULL = {"strategy": ["motion", "wm_csf", "global_signal", "scrub"], "wm_csf": "full", "global_signal": "full"}


@pytest.mark.parametrize(("model", "number"), [("basic", 9), ("full", 36)])
def test_a_strategy_is_that_of_nilearn(prep, model, number):
    """Columns by name, and the fit against ordinary least squares on the volumes that are kept."""
    words = {**FULL, "motion": model, "wm_csf": model, "global_signal": model, "scrub": 0}
    confounds, kept = read_confounds(ConfoundOptions.parse(words), prep, prep.parent, N)
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"] + ["csf", "white_matter", "global_signal"]
    assert set(confounds) == {name + end for name in names for end in MODELS[model]}
    assert confounds.shape == (N, number)
    assert np.flatnonzero(~kept).tolist() == [0, 20, 24]
    signals = np.random.default_rng(1).normal(5, 1, (3, N))
    design = np.column_stack([np.ones(N), confounds])[kept]
    values = signals[:, kept].T
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0] + values.mean(axis=0)
    clean, sample_mask, _ = cleaned(signals, confounds, kept)
    np.testing.assert_allclose(clean[:, sample_mask].T, residual, atol=1e-10)
    np.testing.assert_allclose(clean[:, 20], clean[:, [19, 21]].mean(axis=1))
    np.testing.assert_allclose(clean[:, 0], clean[:, 1])


def test_a_table_of_any_name_and_without_std_dvars_limit(prep, tmp_path):
    table = prep.parent / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    table.rename(tmp_path / "moves.tsv")
    options = ConfoundOptions.parse({"file": "moves.tsv", **FULL, "std_dvars_threshold": None})
    confounds, kept = read_confounds(options, prep, tmp_path, N)
    assert np.flatnonzero(~kept).tolist() == [0, 20, 21, 22, 23, 24]  # fewer than 5 volumes in between
    only = ConfoundOptions.parse({"file": "moves.tsv", "strategy": ["scrub"], "scrub": 0, "columns": ["rot_*"]})
    assert read_confounds(only, prep, tmp_path, N)[0].shape == (N, 12)
    frame = pd.read_csv(tmp_path / "moves.tsv", sep="\t").drop(columns=["framewise_displacement"])
    frame.to_csv(tmp_path / "moves.tsv", sep="\t", index=False, na_rep="n/a")
    with pytest.raises(LabelError, match="no column 'framewise_displacement'"):
        read_confounds(only, prep, tmp_path, N)


@pytest.mark.parametrize("options", [{"strategy": ["motion"], "motion": "basic"}, {"columns": ["rot_*"]}, {}])
def test_an_infinite_confound_is_named(prep, options):
    table = prep.parent / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    frame = pd.read_csv(table, sep="\t")
    frame.loc[6, "rot_y"] = -np.inf
    frame.to_csv(table, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(LabelError, match=r"confounds\.rot_y: -inf in row 7; correct it"):
        read_confounds(ConfoundOptions.parse(options), prep, prep.parent, N)


def test_a_run_with_mask_confounds_and_censoring(prep):
    options = {"atlas": {"grid_mm": 6, "mask": "bids"}, "confounds": {**FULL, "scrub": 0}}
    recording = read(prep, options=ReadOptions.parse(options))
    assert recording.t_r == pytest.approx(0.8)
    assert recording.channels.frame == "mni"
    assert recording.n_channels == 2 * 4 * 2  # cubes of the masked half
    assert recording.events.trial_type.tolist() == ["face"]  # of the raw dataset
    assert recording.entities["resolution"] == "2"
    assert recording.provenance["sample_mask"] == [i for i in range(N) if i not in (0, 20, 24)]
    middle = recording.data[:, [19, 21]].mean(axis=1)
    np.testing.assert_allclose(recording.data[:, 20], middle, rtol=1e-5)
    dirty = read(prep, options=ReadOptions.parse({"atlas": options["atlas"]}))
    assert recording.data.std() < 0.2 * dirty.data.std()


@pytest.mark.parametrize(("of_image", "of_others"), [("01", "1"), ("1", "01")])
def test_the_mask_and_confounds_of_a_run_may_write_its_number_otherwise(prep, of_image, of_others):
    """fMRIPrep wrote run-1 beside run-01; a run of another number is another run."""
    for path in sorted(prep.parent.iterdir()):
        run = of_image if "preproc_bold.nii.gz" in path.name else of_others
        path.rename(path.with_name(path.name.replace("task-rest", f"task-rest_run-{run}")))
    (image,) = prep.parent.glob("*preproc_bold.nii.gz")
    options = ReadOptions.parse({"atlas": {"grid_mm": 6, "mask": "bids"}, "confounds": {"strategy": ["motion"]}})
    recording = read(image, options=options)
    assert recording.t_r == pytest.approx(0.8)
    assert any("24 confounds were removed" in note for note in recording.notes)
    assert len(recording.channels) == 16  # of 32 cubes, those inside the mask
    other = image.with_name(image.name.replace(f"run-{of_image}", "run-2"))
    image.rename(other)
    with pytest.raises(ReadError, match="no confounds file beside the recording"):
        read(other, options=ReadOptions.parse({"atlas": {"grid_mm": 6}, "confounds": {"strategy": ["motion"]}}))


@pytest.mark.parametrize("name", ["sub-01_task-rest", "scan_task-rest"])
@pytest.mark.parametrize("word", ["timeseries", "regressors"])
def test_a_change_of_any_file_that_reading_opens_prepares_the_recording_again(prep, tmp_path, name, word, audited):
    for path in sorted(prep.parent.iterdir()):
        path.rename(path.with_name(path.name.replace("sub-01_task-rest", name).replace("timeseries", word)))
    image = prep.with_name(prep.name.replace("sub-01_task-rest", name))
    nib.save(nib.Nifti1Image(np.ones((8, 8, 4), np.int16), np.diag([3.0, 3, 3, 1])), prep.parent / "atlas.nii.gz")
    (prep.parent / "labels.tsv").write_text("index\tname\n1\tall\n")
    atlas = {"image": "atlas.nii.gz", "labels": "labels.tsv", "mask": "bids"}
    values = {
        "name": "toy",
        "title": "Toy",
        "citation": "none",
        "modality": "fmri",
        "license": "none",
        "read": {"atlas": atlas, "confounds": {"strategy": ["motion"]}},
        "files": [{"pattern": f"**/{image.name}", "entities": {"subject": "01"}}],
    }
    recipe = Recipe.parse(values)
    (found,) = discover(recipe.files, tmp_path)
    with audited() as opened:
        read(found.path, modality="fmri", options=recipe.read, root=tmp_path)
    files = {path for path in opened if path.is_relative_to(tmp_path)}
    assert len(files) == 8  # image, its JSON, events, atlas, table of labels, mask, confounds, their JSON
    for file in files:
        before = Job(recipe, tmp_path).config(found)
        assert Job(recipe, tmp_path).config(found) == before
        file.write_bytes(file.read_bytes() + b" ")
        assert Job(recipe, tmp_path).config(found) != before, file


def test_row_26_missing_columns_are_all_named(prep):
    table = prep.parent / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    frame = pd.read_csv(table, sep="\t").drop(columns=["rot_x", "csf_power2"])
    frame.to_csv(table, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(LabelError, match="no columns 'rot_x', 'csf_power2'"):
        read_confounds(ConfoundOptions.parse(FULL | {"strategy": FULL["strategy"][:3]}), prep, prep.parent, N)
    with pytest.raises(LabelError, match="60 rows for 48 volumes"):
        read_confounds(ConfoundOptions(columns=("rot_y",)), prep, prep.parent, 48)
    with pytest.raises(ReadError, match="every volume is scrubbed"):
        read_confounds(ConfoundOptions(strategy=("scrub",), fd_threshold=1e-9), prep, prep.parent, N)
