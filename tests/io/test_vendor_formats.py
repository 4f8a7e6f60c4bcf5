"""Formats without sample files: written here byte by byte, read back in volts."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from brainof.errors import DependencyError, ReadError
from brainof.io import ReadOptions, read
from brainof.io.formats import format_of

NAMES = ["Fp1", "C3", "O2"]


def _files(vendor, folder, microvolts):
    return {
        "gdf1": lambda: vendor.write_gdf(folder / "a.gdf", microvolts, NAMES, 100, version="1.25"),
        "gdf2": lambda: vendor.write_gdf(folder / "b.gdf", microvolts, NAMES, 100),
        "cnt": lambda: vendor.write_cnt(folder / "c.cnt", microvolts, NAMES, 100),
        "egi": lambda: vendor.write_egi(folder / "d.raw", microvolts, 100),
        "egi16": lambda: vendor.write_egi(folder / "e.raw", microvolts, 100, bits=12, value_range=400),
        "nihon": lambda: vendor.write_nihon(folder / "f.eeg", microvolts, NAMES, 100),
        "persyst": lambda: vendor.write_persyst(folder / "g.lay", microvolts, NAMES, 100),
    }


@pytest.mark.parametrize(
    ("kind", "error", "events"),
    [
        ("gdf1", 1e-3, {"769": 0.03}),
        ("gdf2", 1e-3, {"769": 0.03}),
        ("cnt", 0.051, {"7": 0.03}),
        ("egi", 1e-3, {"tone": 0.03}),
        ("egi16", 0.051, {"tone": 0.03}),
        ("nihon", 0.051, {}),
        ("persyst", 0.051, {"tone": 0.03}),
    ],
)
def test_every_format_gives_the_same_volts(kind, error, events, tmp_path, microvolts, vendor):
    recording = read(_files(vendor, tmp_path, microvolts)[kind]())
    assert [name.upper() for name in recording.channels.names] == (
        ["E1", "E2", "E3"] if kind.startswith("egi") else ["FP1", "C3", "O2"]
    )
    assert (recording.sfreq, recording.modality, set(recording.channels.types)) == (100, "eeg", {"eeg"})
    np.testing.assert_allclose(recording.data * 1e6, microvolts, atol=error)  # half a step of the format
    assert dict(zip(recording.events.trial_type, recording.events.onset, strict=True)) == pytest.approx(events)
    if not kind.startswith("egi"):
        assert recording.channels.located.all()
    assert not recording.provenance["truncated"]


@pytest.mark.parametrize("kind", ["gdf2", "cnt", "egi", "egi16", "nihon", "persyst"])
def test_units_that_are_given_are_those_of_the_stored_values(tmp_path, microvolts, vendor, kind):
    path = _files(vendor, tmp_path, microvolts)[kind]()
    for unit, factor in (("uV", 1e-6), ("mV", 1e-3)):
        recording = read(path, options=ReadOptions(units=unit))
        np.testing.assert_allclose(recording.data / factor, microvolts, atol=0.051)


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1e-6), ("mV", 1e-3), ("nV", 1e-9), ("V", 1.0)])
@pytest.mark.parametrize("version", ["1.25", "2.20"])
def test_gdf_units_that_mne_does_not_know_are_scaled(tmp_path, microvolts, vendor, unit, factor, version):
    path = vendor.write_gdf(tmp_path / "a.gdf", microvolts, NAMES, 100, version=version, units=[unit] * 3)
    np.testing.assert_allclose(
        read(path, options=ReadOptions(units="uV")).data, microvolts * 1e-6, rtol=1e-4, atol=1e-9
    )
    np.testing.assert_allclose(read(path).data, microvolts * factor, rtol=1e-5, atol=factor * 1e-3)


@pytest.mark.parametrize(("version", "place"), [("1.25", 7), ("2.20", 3)])
def test_a_gdf_table_of_more_events_than_bytes_is_named(tmp_path, microvolts, vendor, version, place):
    """MNE would make arrays of as many before it reads one."""
    path = vendor.write_gdf(tmp_path / "a.gdf", microvolts, NAMES, 100, version=version)
    content = bytearray(path.read_bytes())
    content[len(content) - 6 - 8 + place] = 16  # the highest byte of the count
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"the table of events announces \d{7,}, the file has 6 bytes for them"):
        read(path)


def test_gdf_headers_are_checked(tmp_path, microvolts, vendor):
    path = vendor.write_gdf(tmp_path / "a.gdf", microvolts, NAMES, 100, units=["uV", "degC", "uV"])
    with pytest.raises(ReadError, match="unit of C3: unknown unit 'code 6048'"):
        read(path)
    assert read(path, options=ReadOptions(units="uV")).n_channels == 3
    good = vendor.write_gdf(tmp_path / "b.gdf", microvolts, NAMES, 100).read_bytes()
    for start, patch, word in (
        (236, struct.pack("<q", 10**12), "records of 1200 bytes, the file has"),
        (252, struct.pack("<H", 60000), "header says 60000 signals"),
        (0, b"GDX 2.20", "is not the start of a GDF file"),
    ):
        path.write_bytes(good[:start] + patch + good[start + len(patch) :])
        with pytest.raises(ReadError, match=word):
            read(path)
    at = 256 + 3 * (16 + 80 + 8)  # physical minimum of the first channel
    path.write_bytes(good[:at] + struct.pack("<d", 1000.0) + good[at + 8 :])
    recording = read(path)
    assert recording.channels.names == ("C3", "O2")
    assert any("minimum equals their maximum" in note for note in recording.notes)
    path.write_bytes(good[:700])
    with pytest.raises(ReadError, match="header says 3 signals"):
        read(path)


def test_cut_files_are_refused_or_marked_before_memory_is_taken(tmp_path, microvolts, vendor):
    egi = vendor.write_egi(tmp_path / "d.raw", microvolts, 100)
    egi.write_bytes(egi.read_bytes()[:-100])
    with pytest.raises(ReadError, match="3 channels x 600 samples at 100 Hz, .* the file has"):
        read(egi)
    nihon = vendor.write_nihon(tmp_path / "f.eeg", microvolts, NAMES, 100)
    content = bytearray(nihon.read_bytes())
    content[0x1800 + 0x1C : 0x1800 + 0x20] = struct.pack("<I", 10**8)  # a year of EEG in 12 kB
    nihon.write_bytes(content)
    with pytest.raises(ReadError, match="header announces 3 channels x 1000000000 samples"):
        read(nihon)


PLACES = np.array([[-3.0, 8, 4], [-5, 0, 9], [-2, -8, 5]])  # centimetres


def test_mff_gives_volts_events_and_the_places_of_the_net(tmp_path, microvolts, vendor):
    path = vendor.write_mff(tmp_path / "rec.mff", microvolts, 100, places=PLACES)
    recording = read(path)
    assert recording.channels.names == ("E1", "E2", "E3")
    assert (recording.sfreq, recording.modality, recording.n_times) == (100, "eeg", 600)
    np.testing.assert_allclose(recording.data * 1e6, microvolts, atol=1e-3)
    assert dict(zip(recording.events.trial_type, recording.events.onset, strict=True)) == pytest.approx({"tone": 0.03})
    np.testing.assert_allclose(recording.channels.positions, PLACES / 100, atol=1e-6)
    assert recording.channels.frame == "head"  # the fiducials lie on the axes
    assert format_of(path) == (path, "egi")
    bare = read(vendor.write_mff(tmp_path / "bare.mff", microvolts, 100))
    assert not bare.channels.located.any()


def test_cut_mff_and_curry_files_are_refused_before_memory_is_taken(tmp_path, microvolts, vendor):
    path = vendor.write_mff(tmp_path / "rec.mff", microvolts, 100)
    content = (path / "signal1.bin").read_bytes()
    (path / "signal1.bin").write_bytes(content[:-100])
    with pytest.raises(
        ReadError, match=r"signal1\.bin: size: the block at byte \d+ announces 3 channels in 3600 bytes"
    ):
        read(path)
    (path / "signal1.bin").write_bytes(bytes(4) + content[4:])  # repeats a header that never came
    with pytest.raises(ReadError, match=r"signal1\.bin: size: the block at byte 0 announces 0 channels in 0 bytes"):
        read(path)
    (path / "signal1.bin").unlink()
    with pytest.raises(ReadError, match=r"rec\.mff: signal: holds no signal"):
        read(path)
    curry = vendor.write_curry(tmp_path / "x.cdt", microvolts, NAMES, 100, PLACES * 10)
    curry.write_bytes(curry.read_bytes()[:-100])
    with pytest.raises(ReadError, match="announces 600 samples x 3 channels x 1 trials, the file has 7100 bytes"):
        read(curry)
    curry.with_name("x.cdt.dpa").unlink()
    with pytest.raises(ReadError, match=r"its parameters x\.cdt\.dpa are missing"):
        read(curry)


def test_curry_gives_volts_and_events(tmp_path, microvolts, vendor):
    recording = read(vendor.write_curry(tmp_path / "x.cdt", microvolts, NAMES, 100, PLACES * 10))
    assert recording.channels.names == tuple(NAMES)
    assert (recording.sfreq, recording.modality, recording.n_times) == (100, "eeg", 600)
    np.testing.assert_allclose(recording.data * 1e6, microvolts, atol=1e-3)
    assert dict(zip(recording.events.trial_type, recording.events.onset, strict=True)) == pytest.approx({"tone": 0.03})


@pytest.mark.parametrize(("package", "name"), [("mffpy", "rec.mff"), ("curryreader", "x.cdt")])
def test_an_absent_package_is_one_sentence(tmp_path, microvolts, vendor, monkeypatch, package, name):
    vendor.write_mff(tmp_path / "rec.mff", microvolts, 100)
    vendor.write_curry(tmp_path / "x.cdt", microvolts, NAMES, 100, PLACES * 10)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"{package}, which is not installed; pip install 'brainof\[vendor\]'"):
        read(tmp_path / name)


def test_bti_gives_tesla_and_coils_in_the_head_frame(tmp_path, vendor, monkeypatch):
    """4D's head frame has x to the nasion and y to the left ear; ours has x to the right ear and y to the nasion."""
    random = np.random.default_rng(1)
    places = random.normal(0, 0.08, (3, 3))
    normals = places / np.linalg.norm(places, axis=1, keepdims=True)
    tesla = random.normal(0, 1e-12, (3, 400))
    fiducials = [(0.1, 0, 0), (0, 0.07, 0), (0, -0.07, 0)]
    (tmp_path / "rec").mkdir()
    path = vendor.write_bti(tmp_path / "rec", tesla, 200, places, normals, fiducials=fiducials)
    (tmp_path / "config").write_text("of another program")  # in the working folder
    monkeypatch.chdir(tmp_path)
    recording = read(path)
    assert (recording.sfreq, recording.modality, recording.n_times) == (200, "meg", 400)
    assert recording.channels.types == ("mag",) * 3
    np.testing.assert_allclose(recording.data, tesla, atol=6e-15)  # half a step
    assert recording.channels.frame == "head"
    np.testing.assert_allclose(recording.channels.positions, places[:, [1, 0, 2]] * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(recording.channels.orientations, normals[:, [1, 0, 2]] * [-1, 1, 1], atol=1e-6)
    (tmp_path / "rec" / "hs_file").unlink()
    assert read(path).channels.frame == "device"
    path.write_bytes(path.read_bytes()[400:])  # the header at the end stays, samples are missing
    with pytest.raises(ReadError):
        read(path)


def test_two_channels_of_one_name_are_numbered_or_named(tmp_path, microvolts, vendor):
    names = ["C3", "C3", "O2"]
    for path in (
        vendor.write_gdf(tmp_path / "a.gdf", microvolts, names, 100),
        vendor.write_cnt(tmp_path / "a.cnt", microvolts, names, 100),
    ):
        assert read(path).channels.names == ("C3-0", "C3-1", "O2")
    for path in (
        vendor.write_persyst(tmp_path / "a.lay", microvolts, names, 100),
        vendor.write_curry(tmp_path / "a.cdt", microvolts, names, 100, PLACES * 10),
    ):
        with pytest.raises(ReadError, match="two channels are called 'C3'; give each") as caught:
            read(path)
        assert "damaged" not in str(caught.value)
