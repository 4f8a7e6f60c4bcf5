"""The real recordings, against what MNE, nibabel, numpy and scipy themselves say of them."""

from __future__ import annotations

import warnings

import mne
import nibabel as nib
import numpy as np
import pytest
import scipy.io

from brainof.io import ReadOptions, read

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]


def raw_of(function, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(mne.io, function)(path, preload=True, verbose="error")


@pytest.mark.parametrize(
    ("file", "function", "n_channels", "n_located", "n_events", "left_out"),
    [
        ("eegmat/edf/Subject29_1.edf", "read_raw_edf", 20, 19, 0, ["ECG ECG"]),
        ("eegmmidb_S001/S001R03.edf", "read_raw_edf", 64, 64, 30, []),
        ("eeg_vendor_clips/edf/test_edf_overlapping_annotations.edf", "read_raw_edf", 64, 64, 38, []),
        (
            "eeg_vendor_clips/bdf/multiple_annotation_chans.bdf",
            "read_raw_bdf",
            12,
            12,
            10,
            ["EMG", "EOG", "ECG", "acc1", "acc2", "acc3"],
        ),
        ("eeg_vendor_clips/brainvision/test_NO.vhdr", "read_raw_brainvision", 63, 0, 0, ["EMGright", "EMGleft"]),
        ("eeg_vendor_clips/eeglab/eeglab_data.set", "read_raw_eeglab", 30, 30, 154, ["EOG1", "EOG2"]),
    ],
)
def test_eeg(real_data, file, function, n_channels, n_located, n_events, left_out):
    recording = read(real_data / file)
    raw = raw_of(function, real_data / file)
    names = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "eeg"]
    assert list(recording.channels.names) == [name for name in names if name not in left_out]
    assert set(recording.channels.types) == {"eeg"}
    assert (recording.n_channels, recording.sfreq) == (n_channels, raw.info["sfreq"])
    np.testing.assert_array_equal(recording.data, raw.get_data(recording.channels.names).astype(np.float32))
    assert len(recording.events) == n_events
    assert recording.channels.located.sum() == n_located
    # on a head: 6 to 16 cm from the point between the ears, the front in front and the left on the left
    positions = dict(zip(recording.channels.names, recording.channels.positions, strict=True))
    distance = np.linalg.norm(recording.channels.positions[recording.channels.located], axis=1)
    assert ((distance > 0.06) & (distance < 0.16)).all()
    for name, place in positions.items():
        if "Fp1" in name:
            assert place[0] < 0 < place[1]
    assert not recording.provenance["truncated"]


def test_huge_amplitudes_are_flagged(real_data):
    notes = read(real_data / "eeg_vendor_clips/bdf/multiple_annotation_chans.bdf").notes
    assert any("amplitude of 12 of 12 eeg channels spreads" in note for note in notes)
    assert not any("amplitude" in note for note in read(real_data / "eegmat/edf/Subject29_1.edf").notes)


@pytest.mark.parametrize(
    ("file", "function", "types", "frame", "n_events"),
    [
        ("neuromag/sample_audvis_5s_raw.fif", "read_raw_fif", {"mag": 101, "grad": 202}, "head", 3),
        ("neuromag/sample_audvis_trunc_raw_sss.fif", "read_raw_fif", {"mag": 102, "grad": 204}, "head", 0),
        ("neuromag/test_elekta_3ch_raw.fif", "read_raw_fif", {"mag": 1, "grad": 2}, "device", 162),
        ("neuromag/neuromag122_test_file-raw.fif", "read_raw_fif", {"grad": 122}, "device", 0),
        ("ctf/testdata_ctf_short_discontinuous.ds", "read_raw_ctf", {"axial": 273}, "head", 1),
        ("kit/nyu_160ch.sqd", "read_raw_kit", {"axial": 157}, "device", 4),
    ],
)
def test_meg(real_data, file, function, types, frame, n_events):
    path = real_data / "meg_vendor_clips" / file
    recording = read(path)
    raw = raw_of(function, path)
    raw.pick("meg", exclude=[]) if function == "read_raw_fif" else raw.pick("mag", exclude=[])
    kinds = recording.channels.types
    assert {kind: kinds.count(kind) for kind in set(kinds)} == types
    np.testing.assert_array_equal(recording.data, raw.get_data().astype(np.float32))
    assert recording.data.any(axis=1).sum() >= recording.n_channels - 4  # float32 holds femtoteslas
    assert recording.channels.frame == frame
    trans = raw.info["dev_head_t"]["trans"] if frame == "head" else np.eye(4)
    loc = np.array([channel["loc"] for channel in raw.info["chs"]])
    np.testing.assert_allclose(recording.channels.positions, mne.transforms.apply_trans(trans, loc[:, :3]), atol=1e-9)
    turned = mne.transforms.apply_trans(trans, loc[:, 9:12], move=False)
    np.testing.assert_allclose(recording.channels.orientations, turned, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(recording.channels.orientations, axis=1), 1.0, atol=1e-6)
    assert len(recording.events) == n_events


def test_simultaneous_eeg_has_its_digitised_positions(real_data):
    path = real_data / "meg_vendor_clips/neuromag/sample_audvis_trunc_raw_sss.fif"
    recording = read(path, modality="eeg")
    info = raw_of("read_raw_fif", path).pick("eeg", exclude=[]).info
    np.testing.assert_allclose(recording.channels.positions, [channel["loc"][:3] for channel in info["chs"]])
    assert recording.channels.frame == "head"
    assert any("modality='eeg'" in note for note in read(path).notes)


def test_localizer_in_cubes(real_data):
    path = real_data / "studyforrest_localizer_bold/sub-02_task-oneback_run-1_bold.nii.gz"
    recording = read(path, options=ReadOptions.parse({"atlas": {"grid_mm": 24}}))
    assert 80 < recording.n_channels < 200
    assert (recording.n_times, recording.t_r) == (156, 2.0)
    assert recording.channels.frame == "scanner"
    assert (recording.channels.positions.max(axis=0) - recording.channels.positions.min(axis=0) > 0.09).all()
    assert set(recording.events.trial_type) >= {"face", "house", "object", "scene"}
    assert recording.entities["subject"] == "02"


def test_haxby_slice_and_whole_brain(real_data):
    path = real_data / "haxby2001_mini/single_slice/bold.nii.gz"
    recording = read(path, options=ReadOptions.parse({"atlas": {"grid_mm": 3.75}}))
    image = nib.load(path)
    voxels = image.get_fdata().reshape(-1, 1452)[recording.channels.labels - 1]
    np.testing.assert_array_equal(recording.data, voxels.astype(np.float32))
    options = ReadOptions.parse({"atlas": {"grid_mm": 25, "mask": "sub001/masks/25mm/brain.nii.gz"}})
    root = real_data / "haxby2001_mini"
    runs = [
        read(root / f"sub001/BOLD/task001_run{run:03d}/bold_25mm.nii.gz", options=options, root=root) for run in (1, 12)
    ]
    assert runs[0].channels.digest == runs[1].channels.digest
    assert len(runs[0].events) == 8


def test_an_atlas_on_a_real_grid_keeps_all_116_columns(real_data):
    options = ReadOptions.parse({"atlas": {"image": "cni_adhd_rsfmri/atlases/aal_MNI_V4.nii.gz"}})
    path = real_data / "haxby2001_mini/sub001/BOLD/task001_run001/bold_25mm.nii.gz"
    recording = read(path, options=options, root=real_data)
    assert recording.n_channels == 116
    lost = [name for name, row in zip(recording.channels.names, recording.data, strict=True) if not row.any()]
    assert lost
    assert set(lost) <= set(recording.bads)


@pytest.mark.parametrize(("variable", "atlas", "n"), [("aal", "aal_MNI_V4", 116), ("cc200", "cc200_atlas_2mm", 200)])
def test_regions_in_npz_and_csv(real_data, variable, atlas, n):
    root = real_data / "cni_adhd_rsfmri"
    regions = {"image": f"atlases/{atlas}.nii.gz", "labels": f"atlases/labels_{variable}.csv"}
    options = ReadOptions.parse({"variable": variable, "t_r": 2.5, "atlas": regions})
    recording = read(root / "timeseries/sub-044.npz", options=options, root=root)
    np.testing.assert_array_equal(recording.data, np.load(root / "timeseries/sub-044.npz")[variable].T)
    assert (recording.n_channels, recording.sfreq) == (n, 0.4)
    assert recording.channels.frame == "mni"
    assert recording.channels.located.all()
    assert (np.abs(recording.channels.positions) < 0.11).all()
    table = read(root / f"original_csv/sub-044/timeseries_{variable}.csv", options=options, root=root)
    np.testing.assert_allclose(table.data, recording.data, rtol=1e-5)


def test_regions_in_mat_and_npz(real_data):
    path = real_data / "hcp_aal2_rsfmri/101309_TC_rsfMRI_REST1_LR.mat"
    recording = read(path, options=ReadOptions(t_r=0.72, time_axis=1))
    np.testing.assert_array_equal(recording.data, scipy.io.loadmat(path)["tc"].astype(np.float32))
    assert recording.data.shape == (94, 1200)
    path = real_data / "stages_fep_rsfmri/timeseries/sub-001_ses-1.npz"
    recording = read(path, options=ReadOptions(t_r=2, time_axis=0))
    assert recording.data.shape == (419, 234)
    assert (recording.entities["subject"], recording.entities["session"]) == ("001", "1")


def test_four_dry_electrodes_in_npz_and_csv(real_data):
    names = ("TP9", "AF7", "AF8", "TP10")
    path = real_data / "muse_n170/subject1_session1_run01.npz"
    recording = read(path, options=ReadOptions(units="uV", channel_names=names, events_variable="marker"))
    stored = np.load(path)
    np.testing.assert_allclose(recording.data, stored["eeg"] * 1e-6, rtol=1e-6)
    assert recording.sfreq == 256
    assert len(recording.events) == (stored["marker"] != 0).sum()
    assert recording.channels.located.all()
    path = next((real_data / "muse_n170/original_csv").glob("*.csv"))
    recording = read(path, options=ReadOptions(units="uV", events_variable="Marker0"))
    assert recording.channels.names == names
    assert recording.sfreq == pytest.approx(256, rel=1e-3)
    assert set(recording.events.trial_type) == {"1", "2"}
