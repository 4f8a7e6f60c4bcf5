from __future__ import annotations

import mne
import nibabel as nib
import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import ReadOptions, from_array, from_image, from_mne, read

DATA = np.random.default_rng(0).normal(0, 2e-5, (3, 400))


def _raw(types="eeg") -> mne.io.RawArray:
    return mne.io.RawArray(DATA, mne.create_info(["Fp1", "Cz", "O2"], 100.0, types), verbose="error")


def test_raw_with_bads_and_events():
    raw = _raw()
    raw.info["bads"] = ["Cz"]
    raw.set_annotations(mne.Annotations([1.0], [0.5], ["rest"]))
    recording = from_mne(raw, options=ReadOptions(rename={"^": "E_"}, montage="none"), entities={"subject": "7"})
    np.testing.assert_allclose(recording.data, DATA, rtol=1e-6)
    assert recording.bads == ("E_Cz",)
    assert recording.events.onset.tolist() == [1.0]
    assert recording.entities == {"subject": "7"}
    assert not recording.channels.located.any()


def test_a_raw_with_both_modalities_gives_meg_and_says_how_to_get_eeg():
    raw = _raw(["eeg", "mag", "grad"])
    meg = from_mne(raw)
    assert meg.channels.types == ("mag", "grad")
    assert any("modality='eeg'" in note for note in meg.notes)
    assert from_mne(raw, modality="eeg").channels.names == ("Fp1",)


def test_epochs_are_recordings_of_their_own():
    events = np.array([[100, 0, 1], [250, 0, 2]])
    epochs = mne.Epochs(_raw(), events, {"a": 1, "b": 2}, -0.2, 0.5, baseline=None, preload=True, verbose="error")
    first, second = from_mne(epochs)
    np.testing.assert_allclose(first.data, DATA[:, 80:151], rtol=1e-6)
    assert second.events.trial_type.tolist() == ["b"]
    np.testing.assert_allclose(second.events.onset, 0.2)


def test_another_object_is_refused():
    with pytest.raises(ReadError, match="is not an MNE Raw or Epochs"):
        from_mne(DATA)


def test_array_in_microvolts():
    recording = from_array(DATA * 1e6, 100, "eeg", channel_names=["Fp1", "Cz", "X"], units="uV")
    np.testing.assert_allclose(recording.data, DATA, rtol=1e-6)
    assert recording.channels.located.tolist() == [True, True, False]
    assert recording.channels.frame == "head"


def test_array_of_regions():
    recording = from_array(DATA, 0.5, "fmri", positions=np.eye(3) / 10, atlas="mine")
    assert recording.channels.types == ("roi",) * 3
    assert (recording.channels.frame, recording.channels.atlas) == ("mni", "mine")
    assert recording.channels.order.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"data": DATA[0]}, "2-D"),
        ({"modality": "eegg"}, "did you mean 'eeg'"),
        ({"channel_names": ["a"]}, "1 values for 3 channels"),
        ({"channel_types": "eegs"}, "did you mean 'eeg'"),
        ({"positions": np.zeros((2, 3))}, "positions"),
        ({"units": "fT"}, "not a unit of eeg"),
    ],
)
def test_wrong_arrays_are_refused(arguments, word):
    values = {"data": DATA, "sfreq": 100.0, "modality": "eeg", **arguments}
    with pytest.raises(ReadError, match=word):
        from_array(values.pop("data"), values.pop("sfreq"), values.pop("modality"), **values)


def test_a_nibabel_image_equals_the_file(nifti, bold):
    path = nifti(bold, t_r=1.5)
    options = ReadOptions.parse({"atlas": {"grid_mm": 6}})
    image = nib.Nifti1Image(bold, nib.load(path).affine)
    image.header.set_zooms((3.0, 3.0, 3.0, 1.5))
    recording = from_image(image, options=options, entities={"subject": "1"})
    np.testing.assert_array_equal(recording.data, read(path, options=options).data)
    assert (recording.t_r, recording.provenance["file"]) == (1.5, "image in memory")
    labels = np.zeros(bold.shape[:3], np.int16)
    labels[:2], labels[2:] = 7, 3
    atlas = nifti(labels, name="atlas.nii.gz", affine=image.affine)
    regions = from_image(image, options=ReadOptions.parse({"atlas": {"image": str(atlas)}}))
    assert regions.channels.labels.tolist() == [3, 7]
    np.testing.assert_allclose(regions.data[1], bold[:2].mean(axis=(0, 1, 2)), rtol=1e-6)
    assert len(regions.provenance["atlas"]["sha256"]) == 64
    with pytest.raises(ReadError, match="ndarray is not a nibabel image"):
        from_image(bold)
    with pytest.raises(ReadError, match="3-D, not 4-D"):
        from_image(nib.Nifti1Image(labels, image.affine), options=options)
