from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest

from brainof.cli import COMMANDS, main
from brainof.datasets import recipe_names
from brainof.version import __version__


def test_unknown_command_suggests_the_nearest(capsys):
    assert main(["preprae"]) == 2
    assert "did you mean 'prepare'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "example" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_is_a_command_that_works_when_it_is_pasted(command, monkeypatch):
    """Up to the files that it names: what the shell hands over is understood."""
    module = importlib.import_module(f"brainof.cli.{command}")
    lines = [line for line in module.EXAMPLE.splitlines() if line.startswith("  brainof ")]
    assert lines
    for line in lines:
        words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
        if "--list" in words:  # has a test of its own
            continue
        called = importlib.import_module(f"brainof.cli.{words[0]}")
        monkeypatch.setattr(called, "run", lambda args: 0)
        assert main(words) == 0, line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["prepare", "eegmat", "--root", "d"],
            "brainof prepare: the following arguments are required: --out; for example: brainof prepare eegmat --root ",
        ),
        (["prepare", "eegmat", "--root", "d", "--outt", "c"], "arguments: --outt; did you mean '--out'?"),
        (["prepare", "x", "--root", "d", "--out", "c", "--limits", "3"], "did you mean '--limit'?"),
        (["embed", "f", "--model", "m", "--out", "o", "--batchsize", "3"], "did you mean '--batch-size'?"),
        (["atlas", "fetch", "x", "--jsn"], "did you mean '--json'?"),
        (["embed", "--mdoel", "x"], "unrecognized arguments: --mdoel; did you mean '--model'?"),
        (["atlas", "get"], "unknown action 'get'"),
        (["corpus", "merge", "a"], "required: --out; for example: brainof corpus merge A B --out ALL\n"),
        (["simulate", "--subjects", "many", "--out", "x"], "argument --subjects: invalid int value: 'many'"),
    ],
)
def test_wrong_words_are_one_line(words, line, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "info {}",
        "info {}.edf",
        "index {}",
        "corpus info {}",
        "prepare {} --root . --out c",
        "prepare eegmat --root {} --out c",
        "embed a.edf --model {} --out o.parquet",
        "embed {} --model nowhere --out o.parquet",
        "push {} lab/name --to d",
        "pretrain tiny --corpus {} --out r",
        "pretrain {} --corpus c --out r",
        "simulate --out {}",
    ],
)
def test_a_name_too_long_is_one_short_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.format("a" * 5000).split()) in (2, 3)
    said = capsys.readouterr().err
    assert said.startswith("brainof: ")
    assert said.count("\n") == 1
    assert "too long" in said or "no such" in said


def test_no_words_show_the_help(capsys):
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


def test_each_action_of_corpus_has_its_own_options(capsys):
    with pytest.raises(SystemExit):
        main(["corpus", "split", "--help"])
    text = capsys.readouterr().out
    assert "--fraction" in text
    assert "--subject " not in text


def test_recipes_are_listed_with_a_line_each(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["prepare", "--list"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(recipe_names())


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "prepare" in script
    assert "--allow-failures" in script


def test_doctor_names_versions_and_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("brainof.cli.doctor._version", lambda name: None if name == "zarr" else "1.0")
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["brainof"] == __version__
    assert found["packages"]["torch"] == "1.0"
    assert found["extras"]["zarr"] == ["zarr"]
    assert main(["doctor"]) == 0
    assert "pip install 'brainof[zarr]' brings zarr" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"brainof {__version__}\n"


def test_import_is_lazy():
    code = "import sys, brainof; print([m for m in ('torch', 'mne', 'nilearn', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_what_needs_no_model_does_not_wait_for_torch(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 600), np.float32))
    read = ["info", str(tmp_path / "a.npy"), "--sfreq", "100", "--modality", "eeg", "--unit", "uV"]
    code = f"""
import sys
from brainof.cli import main
assert main({read}) == 0
try:
    main(["prepare", "--list"])
except SystemExit:
    print([m for m in ("torch", "sklearn", "scipy.signal") if m in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_has_seen_enough_ends_nothing():
    command = [sys.executable, "-m", "brainof", "prepare", "--list"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0
