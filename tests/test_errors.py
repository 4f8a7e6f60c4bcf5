from __future__ import annotations

import pickle

import pytest

from brainof.errors import ConfigError, ContractError, LabelError, ReadError, StorageError, did_you_mean


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


def test_a_fix_speaks_the_language_of_the_interface():
    fix = "resample(recording, sfreq=100), use window_seconds=1.5, give units=, or allow it with accept='sfreq'."
    error = ContractError("512 Hz", file="a.edf", field="sfreq", fix=fix)
    assert str(error) == f"a.edf: sfreq: 512 Hz; {fix}"
    assert error.on_command_line(["window_seconds", "units", "accept", "sfreq_max"]) == (
        "a.edf: sfreq: 512 Hz; resample(recording, sfreq=100), use --window-seconds 1.5, give --units, "
        "or allow it with --accept sfreq."
    )
    assert error.on_command_line(()) == str(error)


def test_a_parameter_is_an_option_on_the_command_line():
    error = ConfigError("0", field="max_windows", fix="give max_windows=1")
    assert str(error) == "max_windows: 0; give max_windows=1"
    assert error.on_command_line({"max_windows"}) == "--max-windows: 0; give --max-windows 1"
    assert ConfigError("is wrong", field="engine='dask'").on_command_line({"engine"}) == "--engine dask: is wrong"
    in_a_file = ConfigError("0", file="a.yaml", field="max_windows")  # a key of the file, not the option
    assert in_a_file.on_command_line({"max_windows"}) == "a.yaml: max_windows: 0"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ReadError("no channel 'Fz'", file="a.edf", field="pick"), "a.edf: --pick: no channel 'Fz'"),
        (ReadError("holds no labels", file="a.tsv", field="atlas.labels"), "a.tsv: --labels: holds no labels"),
        (ReadError("is needed", file="a.nii", field="atlas"), "a.nii: --atlas: is needed"),
        (
            LabelError("3 rows for 4 volumes", file="a.tsv", field="confounds"),
            "a.tsv: --confounds: 3 rows for 4 volumes",
        ),
        (ReadError("2000 s", file="a.npz", field="t_r"), "a.npz: t_r: 2000 s"),  # an array of the file
        (ConfigError("unknown", file="a.yaml", field="modality"), "a.yaml: modality: unknown"),  # a key of the file
    ],
)
def test_an_argument_that_does_not_fit_a_file_is_an_option_too(error, words):
    assert error.on_command_line({"pick", "labels", "atlas", "confounds", "t_r", "modality"}) == words
    assert error.on_command_line(()) == str(error)


def test_a_call_becomes_an_option_of_a_command_that_has_it():
    error = ContractError("1 Hz", fix="brainof.prepare.resample(recording, 0.5), or allow it with accept='sfreq'")
    assert error.on_command_line(["resample", "accept"]) == "1 Hz; --resample 0.5, or allow it with --accept sfreq"
    assert "brainof.prepare.resample(recording, 0.5)" in error.on_command_line(["accept"])


def test_words_that_nobody_reads_to_their_end_are_shortened():
    text = str(ReadError("is missing", file="a" * 200 + "b" * 200, fix="c" * 299))
    assert text == "a" * 100 + "..." + "b" * 99 + ": is missing; " + "c" * 299
