from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from brainof.channels import Channels
from brainof.errors import RecordingError
from brainof.recording import Recording


def table(n: int = 3) -> Channels:
    positions = np.arange(3.0 * n).reshape(n, 3) / 100
    positions[1, 2] = np.nan
    return Channels(tuple("abcdef"[:n]), ("eeg",) * n, positions=positions, frame="head")


def test_half_a_position_is_unknown():
    assert table().located.tolist() == [True, False, True]
    assert np.isnan(table().positions[1]).all()


def test_table_survives_json_and_digest_follows_content():
    channels = table()
    again = Channels.from_dict(json.loads(json.dumps(channels.to_dict())))
    assert again.digest == channels.digest
    assert again.take([2, 0]).names == ("c", "a")
    assert again.take([2, 0]).digest != channels.digest
    np.testing.assert_array_equal(again.positions, channels.positions)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"names": ("a", "a"), "types": ("eeg", "eeg")}, "channels.names"),
        ({"names": ("a",), "types": ("volt",)}, "channels.types"),
        ({"names": ("a",), "types": ("eeg",), "positions": np.zeros((2, 3))}, "channels.positions"),
    ],
)
def test_bad_tables_are_refused(arguments, field):
    with pytest.raises(RecordingError, match=field):
        Channels(**arguments)


def test_pick_keeps_order_and_bads():
    recording = Recording(np.arange(12.0).reshape(3, 4), 2.0, "eeg", table(), bads=("a", "b"))
    picked = recording.pick(["c", "b"])
    assert picked.channels.names == ("c", "b")
    assert picked.bads == ("b",)
    assert picked.data[0, 0] == 8
    assert (recording.duration, recording.t_r) == (2.0, 0.5)
    with pytest.raises(RecordingError, match="no channel 'd'"):
        recording.pick(["d"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"modality": "egg"}, "modality"),
        ({"data": np.zeros((2, 4))}, "data"),
        ({"data": np.zeros((3, 4), dtype=int)}, "data"),
        ({"sfreq": 0.0}, "sfreq"),
        ({"modality": "meg"}, "a: a eeg channel in meg data"),
        ({"events": pd.DataFrame({"onset": []})}, "events"),
    ],
)
def test_impossible_recordings_are_refused(change, field):
    with pytest.raises(RecordingError, match=field):
        Recording(**{"data": np.zeros((3, 4)), "sfreq": 1.0, "modality": "eeg", "channels": table(), **change})


def test_notes_accumulate():
    recording = Recording(np.zeros((3, 4)), 1.0, "eeg", table()).noted("one").noted("two")
    assert recording.notes == ["one", "two"]
