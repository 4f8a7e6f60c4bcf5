"""KIT recordings in a BIDS dataset: markers and digitised points tie the coils to the head."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import read
from brainof.io.bids import Sidecars, kit


def kit_digitisation(path, root=None):
    return kit.kit_digitisation(path, Sidecars.find(path, root))


#: metres, in the head frame: nasion, left and right ear, five coils
FIDUCIALS = np.array([[0, 0.1, 0], [-0.075, 0, 0], [0.075, 0, 0]])
COILS = np.array([[0, 0.1, 0.05], [-0.04, 0.09, 0.06], [0.05, 0.09, 0.03], [-0.07, 0.02, 0.01], [0.07, 0.03, 0.02]])


def write_marker(path: Path, points: np.ndarray) -> None:
    """A KIT marker file: a directory of 13 entries, the last of them with the coils in the device frame."""
    entries = [(16 * 13, 0, 0, 0)] * 13
    entries[0] = (0, 16, 13, 13)
    content = b"".join(struct.pack("<Iiii", *entry) for entry in entries)
    content += struct.pack("<i", 1) + bytes(2 * 8 * 16) + struct.pack("<i", len(points))
    for point in points:
        content += struct.pack("<4i6d", 0, 0, 1, 1, 0, 0, 0, *point)
    path.write_bytes(content)


def shape_text(points: np.ndarray, scale: float) -> str:
    return "% digitised points\n" + "\n".join(" ".join(f"{x * scale:.6f}" for x in point) for point in points)


@pytest.fixture
def folder(tmp_path):
    meg = tmp_path / "sub-01" / "meg"
    meg.mkdir(parents=True)
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    # the device frame of KIT has x to the nasion and y to the left; here it is 1 cm below the head frame
    device = COILS[:, [1, 0, 2]] * [1, -1, 1] + [0, 0, 0.01]
    write_marker(meg / "sub-01_task-rest_markers.mrk", device)
    (meg / "sub-01_acq-ELP_headshape.pos").write_text(shape_text(np.concatenate([FIDUCIALS, COILS]), 1e3))
    (meg / "sub-01_acq-HSP_headshape.pos").write_text(shape_text(COILS * 1.1, 1e3))
    return meg


def test_files_of_the_recording_are_found(folder):
    (folder / "sub-02_task-rest_markers.mrk").write_bytes(b"of another subject")
    (folder / "sub-01_acq-02pre_markers.mrk").write_bytes(b"of another run")
    arguments, notes = kit_digitisation(folder / "sub-01_task-rest_run-01_meg.con")
    assert [file.name for file in arguments["mrk"]] == ["sub-01_task-rest_markers.mrk"]
    np.testing.assert_allclose(arguments["elp"], np.concatenate([FIDUCIALS, COILS]))
    assert not notes
    (folder / "sub-01_coordsystem.json").write_text('{"DigitizedHeadPointsCoordinateUnits": "cm"}')
    (folder / "sub-01_task-rest_meg").mkdir()
    arguments, _ = kit_digitisation(folder / "sub-01_task-rest_meg" / "sub-01_task-rest_meg.con")
    np.testing.assert_allclose(arguments["elp"], np.concatenate([FIDUCIALS, COILS]) * 10)


def test_what_is_missing_or_damaged_is_said(folder):
    path = folder / "sub-01_task-rest_meg.con"
    (folder / "sub-01_acq-ELP_headshape.pos").write_text("1 2 3\n")
    with pytest.raises(ReadError, match=r"ELP_headshape\.pos: headshape: holds 1 points, not three fiducials"):
        kit_digitisation(path)
    (folder / "sub-01_acq-ELP_headshape.pos").write_text("binary \x01")
    with pytest.raises(ReadError, match=r"ELP_headshape\.pos: headshape: cannot be read"):
        kit_digitisation(path)
    (folder / "sub-01_acq-ELP_headshape.pos").unlink()
    assert kit_digitisation(path) == (
        {},
        ["coils stay in the device frame: no acq-ELP headshape beside the recording"],
    )
    assert kit_digitisation(Path("recording.con")) == ({}, [])


@pytest.mark.real
def test_coils_come_to_the_head_frame(folder, real_data):
    path = folder / "sub-01_task-rest_meg.sqd"
    source = real_data / "meg_vendor_clips/kit/nyu_160ch.sqd"
    path.symlink_to(source)
    plain, placed = read(source), read(path)
    assert (plain.channels.frame, placed.channels.frame) == ("device", "head")
    # a rigid motion: 1 cm up, back to the head frame
    np.testing.assert_allclose(placed.channels.positions, plain.channels.positions - [0, 0, 0.01], atol=2e-5)
    np.testing.assert_allclose(placed.channels.orientations, plain.channels.orientations, atol=1e-4)
    np.testing.assert_array_equal(placed.data, plain.data)
    (folder / "sub-01_acq-HSP_headshape.pos").unlink()
    assert any("no acq-HSP headshape" in note for note in read(path).notes)
