from __future__ import annotations

import numpy as np
import pytest

from brainof.cli import main

RECIPE = """\
name: toy
title: Toy
modality: eeg
license: CC0-1.0
citation: none
files: [{pattern: "sub-{subject}.npz"}]
read: {variable: eeg, time_axis: 1, units: uV, sfreq: 256, channel_names: [Fp1, Cz, Oz]}
windows: {length: 1}
"""


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "data").mkdir()
    for subject in ("01", "02"):
        signal = np.random.default_rng(int(subject)).standard_normal((3, 1024)) * 20
        np.savez(tmp_path / "data" / f"sub-{subject}.npz", eeg=signal)
    (tmp_path / "toy.yaml").write_text(RECIPE)
    return tmp_path


def run(dataset, *words: str, recipe: str = "toy.yaml") -> int:
    return main(
        ["prepare", str(dataset / recipe), "--root", str(dataset / "data"), "--out", str(dataset / "corpus"), *words]
    )


def test_done_and_again(dataset, capsys):
    assert run(dataset) == 0
    assert (
        "toy: 2 recordings prepared (0 already up to date), 0 failed, 0 unfinished; 8 windows"
        in capsys.readouterr().out
    )
    assert run(dataset) == 0
    assert "2 recordings prepared (2 already up to date)" in capsys.readouterr().out


def test_assignments_behind_options(dataset, capsys):
    assert run(dataset, "windows.length=2", "--limit", "1", "prepare.filter.high=40") == 0
    assert "1 recording prepared (0 already up to date), 0 failed, 0 unfinished; 2 windows" in capsys.readouterr().out


def test_a_failure_is_exit_code_2_unless_allowed(dataset, capsys):
    (dataset / "data" / "sub-02.npz").write_bytes(b"")
    assert run(dataset) == 2
    assert "failed     sub-02.npz" in capsys.readouterr().out
    assert run(dataset, "--allow-failures") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["window.length=1"], "did you mean 'windows'?"),
        (["--part", "3"], "--part: '3'; give I/N, such as 3/16"),
        (["--part", "3/2"], "--part: 3/2"),
        (["--subjects", "03"], "--subjects: no subject '03'"),
    ],
)
def test_wrong_input_is_one_line(dataset, capsys, words, message):
    assert run(dataset, *words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("brainof: ")
    assert said.count("\n") == 1
    assert not (dataset / "corpus").exists()


def test_unknown_recipe(dataset, capsys):
    assert main(["prepare", "eegmatt", "--root", str(dataset), "--out", str(dataset / "c")]) == 2
    assert "did you mean 'eegmat'?" in capsys.readouterr().err


def test_words_that_are_no_assignment(dataset, capsys):
    with pytest.raises(SystemExit) as stop:
        run(dataset, "--windwos", "1")
    assert stop.value.code == 2
    assert "unrecognized arguments: --windwos" in capsys.readouterr().err
