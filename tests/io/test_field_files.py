"""Files as users have them: read right, or refused in one line with a way out (never "damaged" of a sound file)."""

from __future__ import annotations

import h5py
import mne
import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import ReadOptions, bids, from_mne, read
from brainof.io.events import BOUNDARY

NAMES = ("Fp1", "C3", "O2")


def vhdr(folder, microvolts, names=NAMES, units=("µV",) * 3, code="utf-8", codepage="Codepage=UTF-8\n", data="a.eeg"):
    (folder / "a.eeg").write_bytes(np.round(microvolts.T * 10).astype("<i2").tobytes())
    rows = "".join(f"Ch{i + 1}={name},,0.1,{unit}\n" for i, (name, unit) in enumerate(zip(names, units, strict=True)))
    text = f"Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\n{codepage}DataFile={data}\n"
    text += "DataFormat=BINARY\nDataOrientation=MULTIPLEXED\nNumberOfChannels=3\nSamplingInterval=10000\n\n"
    text += f"[Binary Infos]\nBinaryFormat=INT_16\n\n[Channel Infos]\n{rows}"
    (folder / "a.vhdr").write_bytes(text.encode(code))
    return folder / "a.vhdr"


@pytest.mark.parametrize("codepage", ["Codepage=ANSI\n", ""])
def test_brainvision_of_version_1_is_latin_1(tmp_path, microvolts, codepage):
    recording = read(vhdr(tmp_path, microvolts, code="latin-1", codepage=codepage))
    np.testing.assert_allclose(recording.data, microvolts * 1e-6, atol=1e-7)


@pytest.mark.parametrize("codepage", ["Codepage=UTF-8\n", "Codepage=ANSI\n", ""])
def test_markers_that_are_not_utf_8_do_not_cost_the_signal(tmp_path, microvolts, codepage):
    path = vhdr(tmp_path, microvolts)
    path.write_text(path.read_text().replace("DataFile=", "MarkerFile=a.vmrk\nDataFile="))
    text = "Mk1=New Segment,,1,1,0,20200101100000000000\nMk2=Comment,Augen öffnen,101,1,0\n"
    text = f"Brain Vision Data Exchange Marker File Version 1.0\n[Common Infos]\n{codepage}[Marker Infos]\n{text}"
    (tmp_path / "a.vmrk").write_bytes(text.encode("latin-1"))
    recording = read(path)
    np.testing.assert_allclose(recording.data, microvolts * 1e-6, atol=1e-7)
    assert recording.events[["onset", "trial_type"]].to_numpy().tolist()[-1] == [1.0, "Comment/Augen öffnen"]
    assert "a.vmrk is not UTF-8 and was read as Latin-1: save it as UTF-8" in recording.notes


def test_a_channel_that_is_dropped_needs_no_unit(tmp_path, microvolts):
    path = vhdr(tmp_path, microvolts, units=("µV", "µV", "BS"))
    with pytest.raises(ReadError, match="unknown unit 'BS'"):
        read(path)
    assert read(path, options=ReadOptions(drop=("O2",))).channels.names == ("Fp1", "C3")
    assert read(path, options=ReadOptions(pick=("Fp1",))).channels.names == ("Fp1",)


@pytest.mark.parametrize(
    ("more", "words"),
    [({"names": ("C3", "C3", "O2")}, "two channels are called 'C3'"), ({"data": "$b.eeg"}, "write a.eeg")],
)
def test_brainvision_headers_that_mne_does_not_read(tmp_path, microvolts, more, words):
    with pytest.raises(ReadError, match=words) as caught:
        read(vhdr(tmp_path, microvolts, **more))
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("code", ["utf-8", "latin-1", "utf-16"])
def test_the_unit_of_channels_tsv_serves_where_the_file_has_none(tmp_path, microvolts, vendor, code):
    folder = tmp_path / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    path = vendor.write_edf_plus(folder / "sub-01_task-rest_eeg.edf", microvolts, 100, unit="")
    with pytest.raises(ReadError, match="unknown unit ''"):
        read(path)
    table = "name\ttype\tunits\n" + "".join(f"{name}\tEEG\tµV\n" for name in NAMES)
    (folder / "sub-01_task-rest_channels.tsv").write_bytes(table.encode(code))
    recording = read(path)
    np.testing.assert_allclose(recording.data, microvolts * 1e-6, atol=1e-7)
    assert any("no unit for 3 channels" in note for note in recording.notes)
    assert not any("says otherwise" in note for note in recording.notes)
    assert any("save it as UTF-8" in note for note in recording.notes) == (code == "latin-1")


@pytest.mark.parametrize("kind", ["edf", "gdf", "brainvision"])
def test_the_unit_of_channels_tsv_serves_where_that_of_the_file_tells_nothing(tmp_path, microvolts, vendor, kind):
    write = {
        "edf": lambda: vendor.write_edf_plus(tmp_path / "sub-01_eeg.edf", microvolts, 100, unit="?V"),
        "gdf": lambda: vendor.write_gdf(tmp_path / "sub-01_eeg.gdf", microvolts, NAMES, 100, units=["none"] * 3),
        "brainvision": lambda: vhdr(tmp_path, microvolts, units=("BS",) * 3).rename(tmp_path / "sub-01_eeg.vhdr"),
    }
    path = write[kind]()
    with pytest.raises(ReadError, match="unknown unit"):
        read(path)
    rows = [f"{name}\tEEG\t{unit}\n" for name, unit in zip(NAMES, ("µV", "uV", "µV"), strict=True)]
    (tmp_path / "sub-01_channels.tsv").write_text("name\ttype\tunits\n" + "".join(rows))
    recording = read(path)
    np.testing.assert_allclose(recording.data, microvolts * 1e-6, atol=1e-7)
    assert any("no unit for 3 channels" in note for note in recording.notes)
    np.testing.assert_allclose(read(path, options=ReadOptions(units="mV")).data, microvolts * 1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "begin", "words"),
    [
        ("x.cnt", b"RIFF\0\0\0\0CNT ", "ANT Neuro.*export"),
        ("x.eeg", b"\x12\x34" * 4, "not a recording of Nihon Kohden; a BrainVision recording needs its .vhdr"),
        ("x.hdr", b"\x5c\x01", "one half of an image pair.*convert"),
        ("x.mgz", b"\x1f\x8b", "FreeSurfer.*convert"),
        ("x.dap", b"", "Curry.*export"),
        ("x.xdf", b"XDF:", "LabStreamingLayer; convert it"),
        ("x.edf.gz", b"\x1f\x8b", "is packed; unpack it first"),
        ("x.vmrk", b"", "belongs to a .vhdr file, which is not beside it"),
    ],
)
def test_files_of_others_say_what_to_do(tmp_path, name, begin, words):
    (tmp_path / name).write_bytes(begin.ljust(2000, b"\1"))
    with pytest.raises(ReadError, match=words) as caught:
        read(tmp_path / name)
    assert "damaged" not in str(caught.value)
    assert ".py" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.VHDR", "a.SET", "a.LAY"])
def test_endings_that_mne_knows_in_lower_case_alone(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ReadError, match=f"ends in upper case.*; call it {name.lower()}"):
        read(tmp_path / name)


def test_an_edf_file_of_another_ending(edf, tmp_path):
    edf(name="x.edf").rename(tmp_path / "x.EDF")
    assert read(tmp_path / "x.EDF").n_channels == 3
    (tmp_path / "x.EDF").rename(tmp_path / "x.rec")
    with pytest.raises(ReadError, match="image of Philips or an EDF recording.*end in .edf"):
        read(tmp_path / "x.rec")
    (tmp_path / "x.rec").rename(tmp_path / "x.bdf")
    with pytest.raises(ReadError, match="begins like EDF; let its name end in .edf"):
        read(tmp_path / "x.bdf")


def test_a_v_amp_header_is_found_from_its_data(tmp_path, microvolts):
    vhdr(tmp_path, np.vstack([microvolts, microvolts[:1]])).rename(tmp_path / "a.ahdr")  # one more is stored than named
    text = (tmp_path / "a.ahdr").read_text()
    (tmp_path / "a.ahdr").write_text(text.replace("Brain Vision Data Exchange", "Brain Vision V-Amp Data"))
    np.testing.assert_allclose(read(tmp_path / "a.eeg").data, microvolts * 1e-6, atol=1e-7)


def test_a_sound_fif_file_without_a_recording_is_not_called_damaged(tmp_path):
    info = mne.create_info(list(NAMES), 100.0, "eeg")
    mne.EvokedArray(np.zeros((3, 10)), info).save(tmp_path / "x-ave.fif", verbose="error")
    with pytest.raises(ReadError, match="something else than a recording") as caught:
        read(tmp_path / "x-ave.fif")
    assert "damaged" not in str(caught.value)


def test_annotations_without_a_signal_point_to_the_recipe(tmp_path, vendor):
    path = vendor.write_edf_plus(tmp_path / "h.edf", np.zeros((0, 600)), 100, [(1.0, b"Sleep stage W", 30)])
    with pytest.raises(ReadError, match="annotations only.*events.file"):
        read(path)


@pytest.mark.parametrize("end", ["-epo.fif", "_epo.fif", ".set"])
def test_epochs_are_joined_with_boundaries(tmp_path, end):
    info = mne.create_info(list(NAMES), 100.0, "eeg")
    data = np.random.default_rng(0).normal(0, 2e-5, (3, 3, 150))
    events = np.array([[0, 0, 1], [500, 0, 2], [1000, 0, 1]])
    epochs = mne.EpochsArray(data, info, events, tmin=-0.5, event_id={"a": 1, "b": 2}, verbose="error")
    path = tmp_path / f"x{end}"
    epochs.save(path, verbose="error") if end.endswith("fif") else epochs.export(path, verbose="error")
    recording = read(path)
    np.testing.assert_allclose(recording.data, data.transpose(1, 0, 2).reshape(3, -1), atol=1e-10)
    rows = recording.events[["onset", "trial_type"]].to_numpy().tolist()
    assert rows == [[0.5, "a"], [1.5, BOUNDARY], [2.0, "b"], [3.0, BOUNDARY], [3.5, "a"]]


def test_a_later_part_of_split_epochs_names_the_first(tmp_path):
    info = mne.create_info(list(NAMES), 100.0, "eeg")
    data = np.random.default_rng(0).normal(0, 2e-5, (120, 3, 2000))
    mne.EpochsArray(data, info, verbose="error").save(tmp_path / "x-epo.fif", split_size="2MB", verbose="error")
    assert read(tmp_path / "x-epo.fif").n_times == 240_000
    with pytest.raises(ReadError, match=r"x-epo-1\.fif: is a later part of x-epo\.fif; read x-epo\.fif"):
        read(tmp_path / "x-epo-1.fif")


@pytest.mark.parametrize("grade", [0, 1, 3])
def test_gradient_compensation_does_not_change_the_sensor_type(grade):
    info = mne.create_info(["MLC11-1"], 600.0, "mag")
    info["chs"][0]["coil_type"] = 5001 | grade << 16
    info["chs"][0]["loc"] = np.array([0.1, 0, 0.05, 1, 0, 0, 0, 1, 0, 0, 0, 1])
    raw = mne.io.RawArray(np.random.default_rng(0).normal(0, 1e-12, (1, 600)), info, verbose="error")
    assert from_mne(raw).channels.types == ("axial",)


def test_readers_that_print_do_not_print_into_ours(tmp_path, microvolts, vendor, capsys):
    path = vendor.write_persyst(tmp_path / "a.lay", microvolts, NAMES, 100)
    path.write_text(path.read_text().replace("BirthDate=01/01/70", "BirthDate=19-NOV-199"))
    read(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("path", "words"), [("a" * 300 + ".edf", "too long"), ("~no-such-user/a.edf", "home")])
def test_paths_that_cannot_be(path, words):
    with pytest.raises(ReadError, match=words):
        read(path)


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "Infinity", '"fast"', "true"])
def test_a_rate_in_the_json_that_is_no_number(edf, tmp_path, number):
    path = edf(name="sub-1_eeg.edf")
    (tmp_path / "sub-1_eeg.json").write_text(f'{{"SamplingFrequency": {number}}}')
    with pytest.raises(ReadError, match="SamplingFrequency"):
        read(path)
    assert read(path, options=ReadOptions(sidecars=False)).sfreq == 100


def test_sidecars_false_reads_the_signal_alone(edf, tmp_path):
    path = edf(name="sub-1_eeg.edf")
    (tmp_path / "sub-1_events.tsv").write_text("time\n1\n")
    with pytest.raises(Exception, match="onset"):
        read(path)
    assert read(path, options=ReadOptions(sidecars=False)).events.trial_type.tolist() == ["left"]


def dataset(folder):
    folder.mkdir()
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    for name in ("sub-01/eeg", "sub-01/meg", "sub-emptyroom/ses-20200101/meg"):
        (folder / name).mkdir(parents=True)
    return folder


def test_the_index_counts_brains_and_lists_the_rest(edf, tmp_path):
    root = dataset(tmp_path / "data")
    edf(name="x.edf").rename(root / "sub-01/eeg/sub-01_task-rest_eeg.EDF")
    (root / "sub-01/eeg/sub-01_task-rest_events.tsv").write_bytes(b"")
    (root / "sub-01/eeg/sub-01_task-go_eeg.vhdr").write_text("Brain Vision")
    (root / "sub-01/eeg/sub-01_task-go_eeg.eeg").write_bytes(b"")
    for name in ("acq-crosstalk", "acq-Calibration", "task-emptyroom", "task-noise", "task-rest"):
        (root / f"sub-01/meg/sub-01_{name}_meg.fif").write_bytes(b"\0\0\0d")
    (root / "sub-emptyroom/ses-20200101/meg/sub-emptyroom_ses-20200101_task-noise_meg.fif").write_bytes(b"\0\0\0d")
    found = bids.index(root).datasets[0]
    names = [file.name for file in found.recordings]
    assert names == ["sub-01_task-go_eeg.vhdr", "sub-01_task-rest_eeg.EDF", "sub-01_task-rest_meg.fif"]
    assert dict(found.problems()) == {
        "sub-01/eeg/sub-01_task-go_eeg.vhdr": "sub-01_task-go_eeg.eeg is empty (0 bytes)",
        "sub-01/eeg/sub-01_task-rest_events.tsv": "empty (0 bytes)",
    }
    assert read(root / "sub-01/eeg/sub-01_task-rest_eeg.EDF").n_channels == 3


@pytest.mark.parametrize(("raw", "derived"), [("01", "1"), ("1", "01"), ("1", "1")])
def test_an_index_is_a_number(tmp_path, raw, derived):
    root = dataset(tmp_path / "data")
    prep = root / "derivatives" / "prep"
    for folder in (root / "sub-01/func", prep / "sub-01/func"):
        folder.mkdir(parents=True)
    (prep / "dataset_description.json").write_text('{"Name": "p", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}')
    events = root / f"sub-01/func/sub-01_task-x_run-{raw}_events.tsv"
    events.write_text("onset\n1\n")
    (root / "sub-01/func/sub-01_task-x_run-02_events.tsv").write_text("onset\n1\n")
    path = prep / f"sub-01/func/sub-01_task-x_run-{derived}_desc-preproc_bold.nii.gz"
    assert bids.Sidecars.find(path, root).events == events


def test_of_two_spellings_of_a_run_the_own_one_wins(tmp_path):
    for run in ("1", "01"):
        (tmp_path / f"sub-01_run-{run}_events.tsv").write_text("onset\n1\n")
    for run in ("1", "01"):
        found = bids.Sidecars.find(tmp_path / f"sub-01_run-{run}_bold.nii.gz").events
        assert found == tmp_path / f"sub-01_run-{run}_events.tsv"


def test_a_name_that_is_not_utf_8_is_listed_and_costs_only_itself(edf, tmp_path):
    import os

    root = dataset(tmp_path / "data")
    for name in (b"sub-01_task-a_eeg.edf", b"sub-01_task-r\xe9_eeg.edf"):
        os.rename(os.fsencode(edf(name="x.edf")), os.fsencode(root / "sub-01/eeg") + b"/" + name)
    found = bids.index(root).datasets[0]
    assert [file.name for file in found.recordings] == ["sub-01_task-a_eeg.edf"]
    assert [problem.encode() for _, problem in found.problems()] == [
        rb"sub-01/eeg/sub-01_task-r\udce9_eeg.edf is not named in UTF-8: rename it"
    ]


def _text(value: str) -> np.ndarray:
    return np.array([[ord(letter)] for letter in value], np.uint16)


def test_eeglab_saved_as_matlab_7_3(tmp_path, microvolts):
    """HDF5 behind a block of 512 bytes whose text is "MATLAB 7.3"; EEGLAB writes it above 2 GB."""
    path = tmp_path / "a.set"
    with h5py.File(path, "w", userblock_size=512) as file:
        eeg, places = file.create_group("EEG"), file.create_group("#refs#")
        eeg.attrs["MATLAB_class"] = np.bytes_("struct")

        def put(group, key, value, kind):
            made = group.create_dataset(key, data=value)
            made.attrs["MATLAB_class"] = np.bytes_(kind)
            if kind == "char":
                made.attrs["MATLAB_int_decode"] = np.int32(2)
            return made

        n_chans, n_times = microvolts.shape
        last = (n_times - 1) / 100
        numbers = {"nbchan": n_chans, "trials": 1, "pnts": n_times, "srate": 100, "xmin": 0, "xmax": last}
        for key, value in numbers.items():
            put(eeg, key, np.array([[float(value)]]), "double")
        put(eeg, "data", microvolts.T.astype("f4"), "single")
        for key, value in (("setname", "a"), ("filename", "a.set"), ("filepath", " "), ("ref", "common")):
            put(eeg, key, _text(value), "char")
        channels = eeg.create_group("chanlocs")
        channels.attrs["MATLAB_class"] = np.bytes_("struct")
        pointers = [put(places, f"name{i}", _text(name), "char").ref for i, name in enumerate(NAMES)]
        labels = channels.create_dataset("labels", (n_chans, 1), dtype=h5py.ref_dtype)
        for i, pointer in enumerate(pointers):
            labels[i, 0] = pointer
        for key in ("event", "epoch", "icawinv", "icasphere", "icaweights", "icachansind"):
            put(eeg, key, np.array([0, 0], np.uint64), "double").attrs["MATLAB_empty"] = np.uint8(1)
    content = bytearray(path.read_bytes())
    content[:128] = b"MATLAB 7.3 MAT-file, HDF5 schema 1.00 .".ljust(116) + b"\0" * 8 + b"\x00\x02IM"
    path.write_bytes(content)
    recording = read(path)
    np.testing.assert_allclose(recording.data, microvolts * 1e-6, rtol=1e-5)
    assert recording.channels.names == tuple(NAMES)
    assert recording.sfreq == 100
