from __future__ import annotations

import pickle

from brainof.errors import ReadError, StorageError, did_you_mean


def test_message_is_one_line_with_file_field_and_fix():
    error = ReadError("is\nempty", file="a.edf", field="data", fix="record again")
    assert str(error) == "a.edf: data: is empty; record again"
    assert (error.exit_code, StorageError("x").exit_code) == (2, 3)


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(ReadError("is empty", file="a.edf", fix="record again")))
    assert isinstance(error, ReadError)
    assert (str(error), error.fix) == ("a.edf: is empty; record again", "record again")


def test_suggestions():
    assert did_you_mean("eegmatt", ["eegmat", "haxby"]) == "did you mean 'eegmat'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
