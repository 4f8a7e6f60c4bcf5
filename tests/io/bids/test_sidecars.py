from __future__ import annotations

import json

import numpy as np
import pytest

from brainof.errors import ReadError
from brainof.io import ReadOptions, read
from brainof.io.bids import Sidecars, sidecars
from brainof.io.positions import electrode_positions

NAMES = ("Fp1", "C3", "O2")


@pytest.fixture
def bids_edf(edf, tmp_path):
    """An EDF recording in a BIDS tree, and a function that writes sidecars into its folder or above."""
    folder = tmp_path / "ds" / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    (tmp_path / "ds" / "dataset_description.json").write_text('{"Name": "Toy", "BIDSVersion": "1.10.0"}')
    path = edf(labels=NAMES).rename(folder / "sub-01_task-rest_eeg.edf")

    def write(name: str, content, at="sub-01/eeg") -> None:
        text = json.dumps(content) if isinstance(content, dict) else "\n".join("\t".join(map(str, r)) for r in content)
        (tmp_path / "ds" / at / name).write_text(text + "\n")

    return path, write


CHANNELS = [("name", "type", "units", "status"), ("Fp1", "EEG", "uV", "good"), ("C3", "EOG", "uV", "good")]


def test_channels_give_types_and_bads(bids_edf):
    path, write = bids_edf
    write("task-rest_channels.tsv", [*CHANNELS, ("O2", "EEG", "mV", "bad")], at=".")  # inherited from the root
    recording = read(path)
    assert recording.channels.names == ("Fp1", "O2")
    assert recording.bads == ("O2",)
    assert any("gives mV where the file says otherwise" in note for note in recording.notes)
    wins = read(path, options=ReadOptions(channel_types={"C*": "eeg"}))
    assert wins.channels.names == NAMES
    assert read(path, options=ReadOptions(sidecars=False)).bads == ()


@pytest.mark.parametrize(
    ("last", "word"),
    [("O1", "lists O1, which the recording does not have and does not list O2"), (None, "does not list O2")],
)
def test_row_27_channels_that_disagree_are_refused(bids_edf, last, word):
    path, write = bids_edf
    write("sub-01_task-rest_channels.tsv", [*CHANNELS, *([(last, "EEG", "uV", "good")] if last else [])])
    with pytest.raises(ReadError, match=rf"channels\.tsv: name: {word}"):
        read(path)


PLACES = {"Fp1": (-0.02, 0.08, 0.03), "C3": (-0.07, 0.0, 0.1), "O2": (0.03, -0.09, 0.05)}
TABLE = [("name", "x", "y", "z"), *((name, *place) for name, place in PLACES.items())]


def _scaled(scale, move=(0.0, 0.0, 0.0)):
    rows = [(name, *(scale * (np.array(place) + move)).round(6)) for name, place in PLACES.items()]
    return [TABLE[0], *rows]


@pytest.mark.parametrize(("unit", "scale"), [("m", 1), ("cm", 100), ("mm", 1000)])
def test_electrodes_in_every_unit(bids_edf, unit, scale):
    path, write = bids_edf
    write("sub-01_space-CapTrak_electrodes.tsv", _scaled(scale))
    write("sub-01_space-CapTrak_coordsystem.json", {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": unit})
    recording = read(path)
    np.testing.assert_allclose(recording.channels.positions, list(PLACES.values()), atol=1e-5)
    assert recording.channels.frame == "head"
    assert [note for note in recording.notes if "position" in note] == ["3 positions come from electrodes.tsv"]


def test_landmarks_bring_any_frame_to_the_head(bids_edf):
    """A frame turned by 90 degrees (ALS, as CTF) and moved comes back by its landmarks."""
    path, write = bids_edf
    turn, move = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]), np.array([0.01, 0.02, 0.03])
    landmarks = {"NAS": (0, 0.1, 0), "LPA": (-0.07, 0, 0), "RPA": (0.07, 0, 0)}
    other = {name: (turn @ np.array(place) + move) for name, place in (PLACES | landmarks).items()}
    write("sub-01_electrodes.tsv", [TABLE[0], *((name, *other[name].round(6)) for name in PLACES)])
    written = {name: other[name].tolist() for name in landmarks}
    system = {"EEGCoordinateSystem": "Other", "EEGCoordinateUnits": "m", "AnatomicalLandmarkCoordinates": written}
    write("sub-01_coordsystem.json", system)
    np.testing.assert_allclose(read(path).channels.positions, list(PLACES.values()), atol=1e-5)


@pytest.mark.parametrize(
    ("system", "word"),
    [
        (None, "no coordsystem.json"),
        ({"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "n/a"}, "their unit is 'n/a'"),
        ({"EEGCoordinateSystem": "MNI152Lin", "EEGCoordinateUnits": "m"}, "their frame is 'MNI152Lin'"),
        ({"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "mm"}, "half of them lie"),
    ],
)
def test_a_frame_that_is_not_known_is_said_and_names_serve(bids_edf, system, word):
    path, write = bids_edf
    write("sub-01_electrodes.tsv", TABLE)
    if system:
        write("sub-01_coordsystem.json", system)
    recording = read(path)
    assert any(word in note for note in recording.notes)
    np.testing.assert_allclose(recording.channels.positions, electrode_positions(NAMES))


def test_a_missing_electrode_keeps_its_template_place_and_a_montage_wins(bids_edf):
    path, write = bids_edf
    write("sub-01_electrodes.tsv", [*TABLE[:3], ("O2", "n/a", "n/a", "n/a")])
    write("sub-01_coordsystem.json", {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "m"})
    positions = read(path).channels.positions
    np.testing.assert_allclose(positions[:2], list(PLACES.values())[:2], atol=1e-5)
    np.testing.assert_allclose(positions[2], electrode_positions(["O2"])[0])
    assert not read(path, options=ReadOptions(montage="none")).channels.located.any()


def test_json_and_events_are_inherited(bids_edf):
    path, write = bids_edf
    write("task-rest_eeg.json", {"SamplingFrequency": 250}, at=".")
    write("task-rest_events.tsv", [("onset", "duration", "trial_type"), (1, 0.5, "tone")], at=".")
    recording = read(path)
    assert any("the JSON says 250 Hz, the file 100 Hz" in note for note in recording.notes)
    assert recording.events.trial_type.tolist() == ["tone"]
    assert {file.name for file in Sidecars.find(path).paths()} == {"task-rest_eeg.json", "task-rest_events.tsv"}


def test_a_link_to_data_that_is_not_here(bids_edf):
    path, _ = bids_edf
    path.unlink()
    path.symlink_to("../../.git/annex/objects/gone.edf")
    with pytest.raises(ReadError, match="is not downloaded; `datalad get`"):
        read(path)


@pytest.mark.parametrize("n_runs", [5, 50])
def test_a_folder_of_many_runs_is_not_searched_through_for_each(tmp_path, monkeypatch, n_runs):
    looked_at: list[str] = []
    plain = sidecars.same_entity
    monkeypatch.setattr(sidecars, "same_entity", lambda *given: looked_at.append(given[0]) or plain(*given))
    for run in range(1, n_runs + 1):
        (tmp_path / f"sub-01_task-x_run-{run:02d}_events.tsv").write_text("onset\n1\n")
    (tmp_path / "sub-01_task-x_events.tsv").write_text("onset\n1\n")
    found = sidecars.Sidecars.find(tmp_path / "sub-01_task-x_run-3_bold.nii.gz").events
    assert found == tmp_path / "sub-01_task-x_run-03_events.tsv"
    assert len(looked_at) == 5  # the entities of two files
    others = sidecars.Sidecars.find(tmp_path / "sub-01_task-x_bold.nii.gz").events
    assert others == tmp_path / "sub-01_task-x_events.tsv"
