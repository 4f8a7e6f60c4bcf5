from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io

from brainof.errors import ReadError
from brainof.io import ReadOptions, read

REGIONS = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)  # time x regions
FMRI = {"t_r": 2.0, "time_axis": 0}


def _write(path):
    match path.suffix:
        case ".npz":
            np.savez(path, ts=REGIONS)
        case ".npy":
            np.save(path, REGIONS)
        case ".mat" if "v73" in path.name:
            with h5py.File(path, "w", userblock_size=512) as file:
                file["ts"] = REGIONS.T  # MATLAB stores the first axis fastest
        case ".mat":
            scipy.io.savemat(path, {"ts": REGIONS})
        case ".h5":
            with h5py.File(path, "w") as file:
                file["ts"] = REGIONS
        case ".tsv":
            np.savetxt(path, REGIONS, delimiter="\t")
        case ".csv":
            np.savetxt(path, REGIONS, delimiter=",")
        case ".txt":
            np.savetxt(path, REGIONS)
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.mat", "v73.mat", "a.h5", "a.tsv", "a.csv", "a.txt"])
def test_every_format_gives_regions_by_time(tmp_path, name):
    recording = read(_write(tmp_path / name), options=ReadOptions.parse(FMRI))
    np.testing.assert_allclose(recording.data, REGIONS.T, rtol=1e-6)
    assert recording.modality == "fmri"
    assert recording.sfreq == 0.5
    assert recording.channels.order.tolist() == [0, 1, 2, 3, 4]


def _npz(tmp_path, **arrays):
    np.savez(tmp_path / "rec.npz", **arrays)
    return tmp_path / "rec.npz"


def test_events_rate_and_time_axis_come_from_the_file(tmp_path):
    marker = np.zeros(600, np.int8)
    marker[[100, 300]] = 1, 2
    path = _npz(tmp_path, eeg=np.ones((4, 600)) * [[1], [2], [3], [4]], marker=marker, sfreq=256.0)
    options = ReadOptions(units="uV", channel_names=("TP9", "AF7", "AF8", "TP10"), events_variable="marker")
    recording = read(path, options=options)
    assert (recording.modality, recording.sfreq) == ("eeg", 256)
    np.testing.assert_allclose(recording.data[:, 0], [1e-6, 2e-6, 3e-6, 4e-6])
    assert recording.channels.located.all()
    assert recording.events.trial_type.tolist() == ["1", "2"]
    np.testing.assert_allclose(recording.events.onset, np.array([100, 300]) / 256)


def test_a_text_table_with_a_header(tmp_path):
    path = tmp_path / "muse.csv"
    rows = "".join(f"{100 + i / 50},{i},{2 * i},7,{int(i == 9)}\n" for i in range(40))
    path.write_text("timestamps,TP9,AF7,Right AUX,Marker0\n" + rows)
    recording = read(path, options=ReadOptions(units="uV", events_variable="Marker0"))
    assert recording.channels.names == ("TP9", "AF7")
    assert recording.sfreq == pytest.approx(50)
    assert recording.events.onset.tolist() == [pytest.approx(9 / 50)]
    np.testing.assert_allclose(recording.data[1], 2e-6 * np.arange(40), rtol=1e-6)


def test_an_atlas_decides_the_axis_and_gives_positions(tmp_path):
    (tmp_path / "regions.tsv").write_text(
        "index\tname\tx\ty\tz\n" + "".join(f"{i}\tr{i}\t{i}\t0\t0\n" for i in range(1, 6))
    )
    path = _npz(tmp_path, ts=REGIONS)
    recording = read(path, options=ReadOptions.parse({"t_r": 2, "atlas": {"labels": "regions.tsv"}}))
    assert recording.channels.names == ("r1", "r2", "r3", "r4", "r5")
    assert recording.channels.frame == "mni"
    np.testing.assert_allclose(recording.channels.positions[:, 0], np.arange(1, 6) / 1000)
    with pytest.raises(ReadError, match="5 regions in the table|does not fit 4"):
        (tmp_path / "regions.tsv").write_text("1\ta\n2\tb\n3\tc\n4\td\n")
        read(path, options=ReadOptions.parse({"t_r": 2, "atlas": {"labels": "regions.tsv"}}))


def test_a_much_longer_axis_is_time_with_a_note(tmp_path):
    path = _npz(tmp_path, x=np.random.default_rng(0).normal(size=(500, 3)))
    recording = read(path, modality="fmri", options=ReadOptions(t_r=1))
    assert recording.n_channels == 3
    assert any("longer axis" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("arrays", "options", "modality", "word"),
    [
        (
            {"a": REGIONS, "b": REGIONS},
            FMRI,
            None,
            "several arrays; choose one with variable; there are: a 30x5, b 30x5",
        ),
        ({"a": REGIONS}, {"variable": "aa", **FMRI}, None, "no array 'aa'; did you mean 'a'"),
        ({"a": REGIONS}, {"t_r": 2}, None, "which axis of 30x5 is time"),
        ({"a": REGIONS}, {"time_axis": 0}, "fmri", "sampling rate: is not in the file"),
        ({"a": REGIONS, "tr": 2000.0}, {"time_axis": 0}, "fmri", "tr: 2000 s looks like milliseconds"),
        ({"a": REGIONS}, {"time_axis": 0, "sfreq": 100}, None, "modality: cannot be told"),
        ({"a": REGIONS}, {"time_axis": 0, "sfreq": 100}, "eeg", "unit of EEG001: is not in the file; give units"),
        ({"a": REGIONS * 1j}, FMRI, None, "no real number"),
        ({"a": np.ones((3, 4, 5))}, FMRI, None, "3x4x5 is not 2-D"),
        ({"a": REGIONS}, {"events_variable": "marks", **FMRI}, None, "no vector 'marks'"),
        ({"a": REGIONS, "m": np.ones(7)}, {"events_variable": "m", **FMRI}, None, "7 values for 30 samples"),
    ],
)
def test_what_is_not_certain_is_asked_for(tmp_path, arrays, options, modality, word):
    with pytest.raises(ReadError, match=word):
        read(_npz(tmp_path, **arrays), modality=modality, options=ReadOptions.parse(options))
