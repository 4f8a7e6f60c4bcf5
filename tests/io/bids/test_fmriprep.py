from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds

from brainof.errors import LabelError, ReadError
from brainof.io import ReadOptions, read
from brainof.io.confounds import STRATEGIES, read_confounds
from brainof.io.options import ConfoundOptions

N = 60


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
    confounds = pd.DataFrame(random.normal(size=(N, 36)), columns=list(STRATEGIES["36p"]))
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


@pytest.mark.parametrize(
    ("strategy", "motion", "others"), [("6p", "basic", None), ("24p", "full", None), ("36p", "full", "full")]
)
def test_columns_are_those_of_nilearn(prep, strategy, motion, others):
    options = ConfoundOptions(strategy=strategy, fd=0.5, dvars=1.5)
    mine = read_confounds(options, prep, prep.parent, N)
    kinds = ("motion", "scrub") if others is None else ("motion", "wm_csf", "global_signal", "scrub")
    more = {} if others is None else {"wm_csf": others, "global_signal": others}
    theirs, mask = load_confounds(
        str(prep),
        strategy=kinds,
        motion=motion,
        scrub=0,
        fd_threshold=0.5,
        std_dvars_threshold=1.5,
        demean=False,
        **more,
    )
    assert set(mine.table.columns) == set(theirs.columns)
    np.testing.assert_array_equal(np.flatnonzero(mine.kept), mask)


def test_a_run_with_mask_confounds_and_censoring(prep):
    options = {"atlas": {"grid_mm": 6, "mask": "bids"}, "confounds": {"strategy": "36p", "fd": 0.5}}
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
    options["confounds"] |= {"censored": "drop", "min_segment": 5}
    dropped = read(prep, options=ReadOptions.parse(options))
    assert dropped.n_times == N - 1 - 5  # volumes 21 to 23 stand between censored ones


def test_row_26_missing_columns_are_all_named(prep):
    table = prep.parent / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    frame = pd.read_csv(table, sep="\t").drop(columns=["rot_x", "csf_power2"])
    frame.to_csv(table, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(LabelError, match="no columns 'rot_x', 'csf_power2'"):
        read_confounds(ConfoundOptions(strategy="36p"), prep, prep.parent, N)
    with pytest.raises(LabelError, match="60 rows for 48 volumes"):
        read_confounds(ConfoundOptions(columns=("rot_y",)), prep, prep.parent, 48)
    with pytest.raises(ReadError, match="every volume is censored"):
        read_confounds(ConfoundOptions(columns=("rot_y",), fd=1e-9, min_segment=5), prep, prep.parent, N)
