from __future__ import annotations

import os
from types import SimpleNamespace

import eeglabio.raw
import mne
import numpy as np
import pybv
import pytest

from brainof.errors import ReadError
from brainof.io import ReadOptions, read
from brainof.io.mne_reader import _stay_inside

NAMES = ["Fp1", "C3", "O2"]


def _vhdr(folder, microvolts, **more):
    pybv.write_brainvision(
        data=microvolts * 1e-6, sfreq=100, ch_names=NAMES, fname_base="rec", folder_out=folder, overwrite=True, **more
    )
    return folder / "rec.vhdr"


def _fif(path, microvolts, **more):
    raw = mne.io.RawArray(microvolts * 1e-6, mne.create_info(NAMES, 100.0, "eeg"), verbose="error")
    raw.save(path, overwrite=True, verbose="error", **more)
    return path


def _set(path, microvolts):
    eeglabio.raw.export_set(str(path), microvolts * 1e-6, 100, NAMES)
    return path


def _bdf(path, microvolts):
    import edfio

    signals = [
        edfio.BdfSignal(row, 100, label=name, physical_dimension="uV", physical_range=(-200, 200))
        for name, row in zip(NAMES, microvolts, strict=True)
    ]
    edfio.Bdf(signals).write(path)
    return path


@pytest.mark.parametrize("kind", ["edf", "bdf", "brainvision", "eeglab", "fif"])
def test_every_format_gives_the_same_volts(kind, tmp_path, microvolts, edf):
    path = {
        "edf": lambda: edf(),
        "bdf": lambda: _bdf(tmp_path / "rec.bdf", microvolts),
        "brainvision": lambda: _vhdr(tmp_path, microvolts),
        "eeglab": lambda: _set(tmp_path / "rec.set", microvolts),
        "fif": lambda: _fif(tmp_path / "rec_raw.fif", microvolts),
    }[kind]()
    recording = read(path)
    assert recording.provenance["format"] == kind
    assert recording.channels.names == tuple(NAMES)
    assert recording.channels.frame == "head"
    assert recording.channels.located.all()
    assert (recording.sfreq, recording.n_times) == (100, 600)
    assert recording.data.dtype == np.float32
    np.testing.assert_allclose(recording.data, microvolts * 1e-6, atol=2e-8 if kind != "edf" else 5e-9)


def test_split_fif_is_one_recording(tmp_path):
    path = _fif(tmp_path / "long_raw.fif", np.random.default_rng(0).normal(0, 20, (3, 200_000)), split_size="2MB")
    assert len(list(tmp_path.glob("long_raw*"))) > 1
    whole, later = read(path), read(tmp_path / "long_raw-1.fif")
    assert whole.n_times == 200_000
    said = "is a later part of long_raw.fif, which is read with all of its parts"
    assert (said in later.notes, said in whole.notes) == (True, False)


def test_a_fast_auxiliary_channel_does_not_resample_the_eeg(tmp_path, microvolts):
    import edfio

    signals = [
        edfio.EdfSignal(microvolts[0], 100, label="Cz", physical_dimension="uV", physical_range=(-200, 200)),
        edfio.EdfSignal(np.zeros(3000) + np.arange(3000) % 7, 500, label="ECG", physical_dimension="uV"),
    ]
    edfio.Edf(signals).write(tmp_path / "mixed.edf")
    recording = read(tmp_path / "mixed.edf")
    assert recording.sfreq == 100
    np.testing.assert_allclose(recording.data[0], microvolts[0] * 1e-6, atol=5e-9)


def test_decoding_in_pieces_changes_nothing(tmp_path, microvolts, monkeypatch):
    from brainof.io import mne_convert

    path = _fif(tmp_path / "rec_raw.fif", microvolts)
    whole = read(path).data
    monkeypatch.setattr(mne_convert, "_CHUNK", 3 * 77)
    np.testing.assert_array_equal(read(path).data, whole)


def test_row_10_a_data_file_outside_the_root_is_refused(tmp_path, microvolts):
    folder = tmp_path / "inside"
    folder.mkdir()
    path = _vhdr(folder, microvolts)
    os.rename(folder / "rec.eeg", tmp_path / "x.eeg")
    path.write_text(path.read_text().replace("DataFile=rec.eeg", "DataFile=../x.eeg"))
    with pytest.raises(ReadError, match=r"DataFile: '../x.eeg' points outside"):
        read(path)
    assert read(path, root=tmp_path).n_times == 600


def test_row_10_parts_of_any_format_must_lie_below_the_root(tmp_path):
    path = tmp_path / "rec_raw.fif"
    _stay_inside(SimpleNamespace(filenames=(path, tmp_path / "parts" / "rec_raw-1.fif", None)), path, tmp_path)
    with pytest.raises(ReadError, match="outside"):
        _stay_inside(SimpleNamespace(filenames=(path, tmp_path.parent / "other.fif")), path, tmp_path)


@pytest.mark.parametrize("with_marker", [True, False])
def test_row_11_a_cut_brainvision_file_is_marked(tmp_path, microvolts, with_marker):
    events = np.array([[590, 1, 1]]) if with_marker else None
    path = _vhdr(tmp_path, microvolts, events=events)
    data = tmp_path / "rec.eeg"
    frame = 12
    data.write_bytes(data.read_bytes()[: 300 * frame + (0 if with_marker else 5)])
    recording = read(path)
    assert recording.n_times == 300
    assert recording.provenance["truncated"] is True


def test_row_11_a_whole_brainvision_file_is_not_marked(tmp_path, microvolts):
    assert read(_vhdr(tmp_path, microvolts, events=np.array([[590, 1, 1]]))).provenance["truncated"] is False


def test_row_7_unknown_brainvision_unit(tmp_path, microvolts):
    path = _vhdr(tmp_path, microvolts)
    path.write_text(path.read_text().replace("µV", "furlong"))
    with pytest.raises(ReadError, match="unit of Fp1: unknown unit 'furlong'"):
        read(path)
    recording = read(path, options=ReadOptions(units="uV"))
    np.testing.assert_allclose(recording.data, microvolts * 1e-6, atol=1e-8)


def test_row_12_and_13_cut_eeglab_and_fif_files(tmp_path, microvolts):
    fif = _fif(tmp_path / "rec_raw.fif", np.tile(microvolts, 40))
    whole = fif.read_bytes()
    for share in (0.6, 0.3):
        fif.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(
            ReadError, match=r"rec_raw\.fif: cannot be read \(file damaged at byte \d+: a tag"
        ) as caught:
            read(fif)
        assert "\n" not in str(caught.value)
    path = _set(tmp_path / "rec.set", microvolts)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError, match=r"rec\.set: cannot be read"):
        read(path)


def test_row_14_samples_that_are_not_finite_are_noted(tmp_path, microvolts):
    microvolts[1, 10], microvolts[2, 20] = np.nan, np.inf
    recording = read(_fif(tmp_path / "rec_raw.fif", microvolts))
    assert any("2 samples are not finite, in C3, O2" in note for note in recording.notes)


def test_row_15_flat_channels_are_noted(tmp_path, microvolts):
    microvolts[1] = 3.0
    assert any(note == "flat channels: C3" for note in read(_fif(tmp_path / "rec_raw.fif", microvolts)).notes)


def test_row_16_one_sample_is_no_recording(tmp_path, microvolts):
    with pytest.raises(ReadError, match="one sample"):
        read(_fif(tmp_path / "rec_raw.fif", microvolts[:, :1]))


def test_row_17_unknown_positions_are_said(tmp_path, microvolts):
    path = _fif(tmp_path / "rec_raw.fif", microvolts)
    recording = read(path, options=ReadOptions(channel_names=("X0", "X1", "Cz")))
    assert recording.channels.located.tolist() == [False, False, True]
    assert any("no position for 2 of 3 channels: X0, X1" in note for note in recording.notes)


def test_sizes_are_checked_before_memory_is_taken(tmp_path, microvolts):
    path = _fif(tmp_path / "rec_raw.fif", microvolts)
    with pytest.raises(ReadError, match="max_bytes"):
        read(path, options=ReadOptions(max_bytes=1000))


def test_shielded_fif_needs_a_word(tmp_path, microvolts):
    raw = mne.io.RawArray(microvolts * 1e-6, mne.create_info(NAMES, 100.0, "eeg"), verbose="error")
    with raw.info._unlock():
        raw.info["maxshield"] = True
    path = tmp_path / "rec_raw.fif"
    raw.save(path, verbose="error")
    with pytest.raises(ReadError, match="allow_maxshield"):
        read(path)
    assert read(path, options=ReadOptions(allow_maxshield=True)).n_times == 600


def test_a_wrong_modality_says_what_is_there(tmp_path, microvolts):
    path = _fif(tmp_path / "rec_raw.fif", microvolts)
    with pytest.raises(ReadError, match="no meg channel; the channels are: 3 eeg"):
        read(path, modality="meg")
    with pytest.raises(ReadError, match="holds no fMRI"):
        read(path, modality="fmri")


def test_stored_numbers_of_another_unit(tmp_path, microvolts):
    path = _fif(tmp_path / "rec_raw.fif", microvolts * 1e6)  # microvolts written where volts belong
    assert any("unit is wrong" in note for note in read(path).notes)
    np.testing.assert_allclose(read(path, options=ReadOptions(units="uV")).data, microvolts * 1e-6, rtol=1e-5)


def test_a_flipped_bit_in_a_packed_fif_is_seen_by_its_checksum(tmp_path):
    """MNE reads on where the checksum differs."""
    path, random = tmp_path / "a_raw.fif.gz", np.random.default_rng(0)
    raw = mne.io.RawArray(random.normal(0, 2e-5, (3, 600)), mne.create_info(["Fp1", "C3", "O2"], 100.0, "eeg"))
    raw.save(path, verbose="error")
    content = path.read_bytes()
    assert read(path).n_times == 600
    for place in random.integers(10, len(content), 30):  # after the header of gzip, which says nothing of the signal
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << random.integers(8)]) + content[place + 1 :])
        with pytest.raises(ReadError, match="cannot be read"):
            read(path)
