"""Formats without sample files: written here byte by byte, read back in volts."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import mne
import numpy as np
import pytest

from brainof.errors import ReadError
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


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1e-6), ("mV", 1e-3), ("nV", 1e-9), ("V", 1.0)])
@pytest.mark.parametrize("version", ["1.25", "2.20"])
def test_gdf_units_that_mne_does_not_know_are_scaled(tmp_path, microvolts, vendor, unit, factor, version):
    path = vendor.write_gdf(tmp_path / "a.gdf", microvolts, NAMES, 100, version=version, units=[unit] * 3)
    np.testing.assert_allclose(read(path).data, microvolts * factor, rtol=1e-5, atol=factor * 1e-3)


def test_gdf_headers_are_checked(tmp_path, microvolts, vendor):
    path = vendor.write_gdf(tmp_path / "a.gdf", microvolts, NAMES, 100, units=["uV", "degC", "uV"])
    with pytest.raises(ReadError, match="unit of C3: unknown unit 'code 6048'"):
        read(path)
    assert read(path, options=ReadOptions(units="uV")).n_channels == 3
    good = vendor.write_gdf(tmp_path / "b.gdf", microvolts, NAMES, 100).read_bytes()
    for start, patch, word in (
        (236, struct.pack("<q", 10**12), "records of 1200 bytes, the file has"),
        (252, struct.pack("<H", 60000), "header says 60000 signals"),
        (0, b"GDX 2.20", "begins no GDF file"),
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


@pytest.mark.parametrize(
    ("names", "function"),
    [
        (("rec.mff/signal1.bin",), "read_raw_egi"),
        (("c,rfDC", "config"), "read_raw_bti"),
        (("x.cdt",), "read_raw_curry"),
    ],
)
def test_formats_that_cannot_be_made_here_go_to_their_reader_of_mne(tmp_path, names, function, monkeypatch):
    """MFF, BTi/4D and Curry: no sample files and too much of the vendors' metadata to write in a test."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 4000)
    calls = []

    def reader(path, preload, **arguments):
        calls.append(SimpleNamespace(path=path, **arguments))
        info = mne.create_info(["Fp1", "Cz"], 100.0, "eeg")
        return mne.io.RawArray(np.random.default_rng(0).normal(0, 2e-5, (2, 200)), info, verbose="error")

    monkeypatch.setattr(mne.io, function, reader)
    path = tmp_path / names[0].split("/")[0]
    assert read(path).n_channels == 2
    assert calls[0].path == path
    if function == "read_raw_bti":
        assert calls[0].head_shape_fname is None  # there is no hs_file
    if function == "read_raw_egi":
        assert calls[0].events_as_annotations
        assert format_of(path) == (path, "egi")
