from __future__ import annotations

import contextlib

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from brainof.errors import BrainOFError, ReadError
from brainof.io import ReadOptions, read
from brainof.io.events import BOUNDARY

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
    (tmp_path / "regions.tsv").write_text("1\ta\n2\tb\n3\tc\n4\td\n")
    with pytest.raises(ReadError, match="30x5 does not fit 4 channels"):
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
            "several arrays; choose one.* a 30x5, b 30x5",
        ),
        ({"a": REGIONS}, {"variable": "aa", **FMRI}, None, "no array 'aa'; did you mean 'a'"),
        ({"a": REGIONS}, {"t_r": 2}, None, "is time in the rows or the columns of 30x5"),
        ({"a": REGIONS}, {"time_axis": 0}, "fmri", "sampling rate: is not in the file"),
        ({"a": REGIONS, "tr": 2000.0}, {"time_axis": 0}, "fmri", "tr: 2000 s looks like milliseconds"),
        ({"a": REGIONS, "tr": 0.002}, {"time_axis": 0}, "fmri", "tr: TR 0.002 s is too short; give t_r="),
        ({"a": REGIONS, "sfreq": 500}, {"time_axis": 0}, "fmri", "sfreq: TR 0.002 s is too short; give t_r="),
        ({"a": REGIONS, "time": np.arange(30) / 500}, {}, "fmri", "time column: steps of 0.002 s are too short"),
        ({"a": REGIONS}, {"time_axis": 0, "sfreq": 100}, None, "modality: cannot be told"),
        ({"a": REGIONS}, {"time_axis": 0, "sfreq": 100}, "eeg", "unit of EEG001: is not in the file; give units"),
        ({"a": REGIONS * 1j}, FMRI, None, "is not a real number"),
        ({"a": np.ones((3, 4, 5))}, FMRI, None, "3x4x5 is not 2-D"),
        ({"a": REGIONS}, {"events_variable": "marks", **FMRI}, None, "no vector 'marks'"),
        ({"a": REGIONS, "m": np.ones(7)}, {"events_variable": "m", **FMRI}, None, "7 values for 30 samples"),
    ],
)
def test_what_is_not_certain_is_asked_for(tmp_path, arrays, options, modality, word):
    with pytest.raises(ReadError, match=word):
        read(_npz(tmp_path, **arrays), modality=modality, options=ReadOptions.parse(options))


NAMES = ["Fp1", "Fp2", "C3", "C4", "O1", "O2"]
EEG = np.random.default_rng(1).normal(0, 20, (6, 300))


def _named_file(path, values):
    names = np.array(NAMES)
    match path.suffix:
        case ".npz":
            np.savez(path, data=values, sfreq=256.0, ch_names=names, bad_mask=np.zeros(6))
        case ".mat":
            scipy.io.savemat(path, {"data": values, "fs": 256.0, "ch_names": names.astype(object)})
        case ".h5":
            with h5py.File(path, "w") as file:
                file["data"], file["sfreq"] = values, 256.0
                file["ch_names"] = NAMES
    return path


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
def test_names_in_an_array_of_text_are_channels_never_samples(tmp_path, suffix, turned):
    path = _named_file(tmp_path / f"rec{suffix}", EEG.T if turned else EEG)
    recording = read(path, modality="eeg", options=ReadOptions(units="uV"))
    assert list(recording.channels.names) == NAMES
    assert recording.sfreq == 256
    np.testing.assert_allclose(recording.data, EEG * 1e-6, rtol=1e-6)


def test_labels_of_the_samples_are_no_names(tmp_path):
    stages = np.array(["rest", "task"] * 150)
    path = _npz(tmp_path, data=EEG, sfreq=256.0, labels=stages)
    recording = read(path, modality="eeg", options=ReadOptions(units="uV", events_variable="labels"))
    assert recording.data.shape == (6, 300)
    assert recording.channels.names[0] == "EEG001"
    assert len(recording.events) == 300


@pytest.mark.parametrize("header", [True, False])
def test_an_index_that_pandas_wrote_is_left_out(tmp_path, header):
    path = tmp_path / "a.csv"
    pd.DataFrame(EEG.T, columns=NAMES).to_csv(path, header=header)
    recording = read(path, modality="eeg", options=ReadOptions(units="uV", sfreq=256, time_axis=0))
    assert recording.n_channels == 6
    if header:
        assert list(recording.channels.names) == NAMES
    np.testing.assert_allclose(recording.data[0], EEG[0] * 1e-6, rtol=1e-5)
    assert any("counts the rows" in note for note in recording.notes)


def _timed(tmp_path, times):
    path = tmp_path / "a.csv"
    pd.DataFrame(EEG.T, columns=NAMES).assign(time=times).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("pause", [0.5, 5, 3600, -20])
def test_a_pause_of_the_time_column_keeps_the_rate_and_is_a_boundary(tmp_path, pause):
    times = np.arange(300) / 128
    path = _timed(tmp_path, np.where(np.arange(300) < 100, times, times + pause))
    recording = read(path, modality="eeg", options=ReadOptions(units="uV"))
    assert recording.sfreq == pytest.approx(128, abs=0.01)
    assert recording.events.trial_type.tolist() == [BOUNDARY]
    assert recording.events.onset.tolist() == [pytest.approx(100 / 128)]
    assert any("time pauses or jumps 1 times" in note for note in recording.notes)


def test_clocks_that_are_rounded_or_late_have_no_pause(tmp_path):
    exact = np.arange(300) / 256
    late = exact + 0.03 * (np.arange(300) % 12 == 5)  # packets of a Muse come late and overlap
    for times in (np.round(exact, 3), late, np.repeat(exact[::12], 12)):
        recording = read(_timed(tmp_path, times), modality="eeg", options=ReadOptions(units="uV"))
        assert recording.sfreq == pytest.approx(256, rel=0.04)
        assert not len(recording.events)


def test_a_table_of_text_alone_has_no_signal(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Fp1,C3\n" + "a,b\n" * 5)
    with pytest.raises(ReadError, match="a.csv"):
        read(path)


def test_a_time_column_in_milliseconds_is_named(tmp_path):
    path = _timed(tmp_path, np.arange(300) * 1000 / 256)
    with pytest.raises(ReadError, match=r"time column: steps of 3.90625 look like milliseconds; give sfreq=256"):
        read(path, modality="eeg", options=ReadOptions(units="uV"))
    assert read(path, modality="eeg", options=ReadOptions(units="uV", sfreq=256)).events.empty


def test_columns_with_the_names_of_the_atlas_go_by_name(tmp_path):
    (tmp_path / "regions.tsv").write_text("index\tname\n" + "".join(f"{i}\tr{i}\n" for i in range(1, 6)))
    pd.DataFrame(REGIONS, columns=["r3", "r1", "r5", "r2", "r4"]).to_csv(tmp_path / "a.csv", index=False)
    recording = read(tmp_path / "a.csv", options=ReadOptions.parse({"t_r": 2, "atlas": {"labels": "regions.tsv"}}))
    assert recording.channels.names == ("r1", "r2", "r3", "r4", "r5")
    np.testing.assert_allclose(recording.data, REGIONS[:, [1, 3, 0, 4, 2]].T, rtol=1e-5)


def test_only_members_that_are_needed_are_read(tmp_path, monkeypatch):
    """A file of many members takes time by their number, not by its square: each read opens the archive."""
    loads = []
    monkeypatch.setattr(np, "load", lambda *args, real=np.load, **more: loads.append(1) or real(*args, **more))
    path = _npz(tmp_path, x=EEG, **{f"m{i}": np.ones(1) for i in range(200)})
    options = ReadOptions.parse({"variable": "x", "units": "uV", "sfreq": 100, "time_axis": 1})
    read(path, modality="eeg", options=options)
    assert len(loads) < 5


def test_regions_keep_the_place_of_the_id_in_their_name(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, data=np.random.default_rng(0).standard_normal((30, 3)), labels=["shen001", "shen004", "shen009"])
    options = ReadOptions(variable="data", time_axis=0, t_r=2.0, atlas={"name": "shen-278", "ids": "shen([0-9]+)"})
    channels = read(path, modality="fmri", options=options).channels
    assert channels.labels.tolist() == [1, 4, 9]
    assert channels.order.tolist() == [0, 3, 8]
    assert channels.atlas == "shen-278"
    wrong = ReadOptions(variable="data", time_axis=0, t_r=2.0, atlas={"name": "shen-278", "ids": "roi([0-9]+)"})
    with pytest.raises(ReadError, match="'shen001' has no id by"):
        read(path, modality="fmri", options=wrong)


VALUES = np.random.default_rng(3).normal(0, 20, (3, 60)).round(3)
FRAME = pd.DataFrame(VALUES.T, columns=["Fp1", "C3", "O2"])
NUMBERED = pd.DataFrame(VALUES.T)


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (lambda path: FRAME.to_csv(path), ("Fp1", "C3", "O2")),
        (lambda path: FRAME.rename_axis("row").to_csv(path), ("Fp1", "C3", "O2")),
        (lambda path: FRAME.assign(n=np.arange(60) + 1.0).to_csv(path, index=False), ("Fp1", "C3", "O2")),
        (lambda path: FRAME.to_csv(path, sep=";", decimal=","), ("Fp1", "C3", "O2")),
        (lambda path: FRAME.set_axis(["C3", "C3", "O2"], axis=1).to_csv(path), ("C3-0", "C3-1", "O2")),
        (lambda path: FRAME.T.to_csv(path), ("Fp1", "C3", "O2")),  # a channel per row
        (lambda path: NUMBERED.to_csv(path), ("0", "1", "2")),
        (lambda path: NUMBERED.to_csv(path, index=False), ("0", "1", "2")),
    ],
)
def test_tables_as_pandas_and_spreadsheets_write_them(tmp_path, write, names):
    write(tmp_path / "a.csv")
    recording = read(tmp_path / "a.csv", modality="eeg", options=ReadOptions(units="uV", sfreq=100))
    assert recording.channels.names == names
    np.testing.assert_allclose(recording.data * 1e6, VALUES, rtol=1e-5)


@pytest.mark.parametrize(("name", "scale"), [("Time (s)", 1), ("time_ms", 1000), ("Timestamp [us]", 1e6), ("t", 1)])
def test_the_unit_of_time_stands_in_its_name(tmp_path, name, scale):
    FRAME.assign(**{name: np.arange(60) * scale / 100}).to_csv(tmp_path / "a.csv", index=False)
    recording = read(tmp_path / "a.csv", options=ReadOptions(units="uV"))
    assert (recording.sfreq, recording.n_channels) == (100, 3)


def test_microseconds_without_a_unit_are_named(tmp_path):
    FRAME.assign(time=np.arange(60) * 10_000).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ReadError, match="look like microseconds; give sfreq=100"):
        read(tmp_path / "a.csv", options=ReadOptions(units="uV"))


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (np.array(["C3", "C3", "O2"]), ("C3-0", "C3-1", "O2")),
        (np.array(["Fp1", "C3", "O2"], dtype="S"), ("Fp1", "C3", "O2")),
    ],
)
def test_names_in_an_npz_that_repeat_or_are_bytes(tmp_path, names, seen):
    np.savez(tmp_path / "a.npz", data=VALUES.T, ch_names=names, fs=100)
    recording = read(tmp_path / "a.npz", modality="eeg", options=ReadOptions(units="uV"))
    assert (recording.channels.names, recording.sfreq) == (seen, 100)
    np.testing.assert_allclose(recording.data * 1e6, VALUES, rtol=1e-5)


def test_names_that_are_python_objects_are_noted(tmp_path):
    np.savez(tmp_path / "a.npz", data=VALUES, ch_names=np.array(["Fp1", "C3", "O2"], dtype=object), sfreq=100)
    notes = read(tmp_path / "a.npz", modality="eeg", options=ReadOptions(units="uV")).notes
    assert any("ch_names holds Python objects" in note for note in notes)


def test_names_and_rates_in_groups_and_attributes_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["run/eeg"], file["run/ch_names"] = VALUES.T, ["Fp1", "C3", "O2"]
        file["run/eeg"].attrs["sfreq"] = 100.0
    recording = read(tmp_path / "a.h5", options=ReadOptions(units="uV"))
    assert (recording.channels.names, recording.sfreq) == (("Fp1", "C3", "O2"), 100)
    np.testing.assert_allclose(recording.data * 1e6, VALUES, rtol=1e-5)


def test_a_struct_is_named(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"EEG": {"data": VALUES, "srate": 100.0}})
    with pytest.raises(ReadError, match=r"holds a struct \(EEG\) and no array; save its array"):
        read(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("columns", "order"),
    [(["SFG", "Pole", "Insula"], [1, 2, 0]), (["sfg", "Pole", "insula"], [1, 2, 0]), (["3", "1", "2"], [1, 2, 0])],
)
def test_columns_of_regions_go_by_name_or_id(tmp_path, columns, order):
    (tmp_path / "l.csv").write_text("1,Pole\n2,Insula\n3,SFG\n")
    pd.DataFrame(VALUES.T, columns=columns).to_csv(tmp_path / "a.csv", index=False)
    options = ReadOptions.parse({"t_r": 2, "atlas": {"labels": str(tmp_path / "l.csv")}})
    recording = read(tmp_path / "a.csv", options=options)
    assert recording.channels.names == ("Pole", "Insula", "SFG")
    np.testing.assert_allclose(recording.data, VALUES[order], rtol=1e-5)


def test_columns_of_which_only_some_are_regions_are_refused(tmp_path):
    (tmp_path / "l.csv").write_text("1,Pole\n2,Insula\n3,SFG\n")
    pd.DataFrame(VALUES.T, columns=["SFG", "Pole", "Insla"]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ReadError, match="columns are not regions of l: Insla"):
        read(tmp_path / "a.csv", options=ReadOptions.parse({"t_r": 2, "atlas": {"labels": str(tmp_path / "l.csv")}}))


@pytest.mark.parametrize("length", range(30, 45))
def test_a_text_table_cut_in_its_first_row_is_one_line(tmp_path, length):
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\ttrial_type\n15.0\t22.5\tscissors\n"[:length])
    with contextlib.suppress(BrainOFError):  # too short to tell, or read: never another error
        assert read(path, modality="fmri", options=ReadOptions(t_r=2.0)).data.ndim == 2
