"""Cures in the words of the interface at hand, and standard output for results alone."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import edfio
import mne
import nibabel as nib
import numpy as np
import pytest
import scipy.io

import brainof
from brainof.cli import _subparsers, main, make_parser, option_strings, out, results
from brainof.errors import ReadError, in_options


def edf(path, names=("Fp1", "C3"), unit="uV"):
    values = np.random.default_rng(0).normal(0, 20, (2, 500))
    signals = [
        edfio.EdfSignal(row, 100, label=name, physical_dimension=unit, physical_range=(-200, 200))
        for row, name in zip(values, names, strict=True)
    ]
    edfio.Edf(signals).write(path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: edf(folder / "a.edf", unit="?V"), "unknown unit '?V'; give --units"),
        (lambda folder: edf(folder / "a.edf", names=("EOG1", "ECG")), "no EEG channel; give --channel-types"),
        (
            lambda folder: npy(folder, (3, 4)),
            "modality: cannot be told from a table; give --modality: eeg, meg or fmri",
        ),
    ],
)
def test_cures_name_options_of_the_command(tmp_path, capsys, make, words):
    assert main(["info", make(tmp_path)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("corpus.json", "`brainof corpus info` describes a corpus"),
        ("adapter_config.json", "BrainOFClassifier.load or BrainOFRegressor.load reads an adapter"),
        ("adapter/adapter_config.json", "`brainof report` shows an adaptation"),
        ("summary.csv", "`brainof report` shows an evaluation"),
        ("README", "`brainof index` lists what a BIDS dataset holds"),
    ],
)
def test_a_folder_is_sent_to_the_command_that_reads_it(tmp_path, capsys, inside, words):
    (tmp_path / inside).parent.mkdir(exist_ok=True)
    (tmp_path / inside).write_text("{}")
    assert main(["info", str(tmp_path)]) == 2
    assert f"is a folder, not a recording; {words}" in capsys.readouterr().err


def test_names_that_nobody_knows_are_answered_by_those_that_are_known(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["info", "pretraind"]) == 2
    assert "did you mean 'pretrained'?" in capsys.readouterr().err
    nib.Nifti1Image(np.ones((4, 4, 4, 9), np.float32), np.eye(4)).to_filename("bold.nii.gz")
    assert main(["info", "bold.nii.gz", "--t-r", "2", "--atlas-name", "power"]) == 2
    assert "unknown atlas 'power'; did you mean 'power-264'?" in capsys.readouterr().err
    for option, least in (("--windows", 2), ("--untrained", 0), ("--permutations", 0)):
        assert main(["explain", "debug", "bold.nii.gz", "--out", "x", option, "-1"]) == 2
        assert f"{option}: -1; give {least} or more" in capsys.readouterr().err
    scipy.io.savemat("ft.mat", {"data": {"trial": np.ones((3, 40)), "fsample": 100.0}})
    assert main(["info", "ft.mat"]) == 2
    assert "for FieldTrip brainof.from_mne takes what mne.io.read_raw_fieldtrip" in capsys.readouterr().err


def npy(folder, shape):
    np.savez(folder / "a.npz", x=np.ones(shape), t=np.arange(4.0) / 100)
    return str(folder / "a.npz")


def test_options_of_reading_that_a_cure_names(tmp_path, capsys):
    path = edf(tmp_path / "sub-01_eeg.edf", names=("EOG1", "ECG"))
    assert main(["info", path, "--channel-types", "EOG*=eeg", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["channels"] == ["EOG1"]
    (tmp_path / "sub-01_channels.tsv").write_text("name\ttype\nCz\tEEG\n")
    assert main(["info", path, "--channel-types", "EOG*=eeg"]) == 2
    assert "or read it alone with --no-sidecars" in capsys.readouterr().err
    assert main(["info", path, "--channel-types", "EOG*=eeg", "--no-sidecars"]) == 0


def test_notes_name_options_too(tmp_path, capsys):
    info = mne.create_info(["MEG1", "Fp1"], 100.0, ["mag", "eeg"])
    mne.io.RawArray(np.zeros((2, 300)), info, verbose="error").save(tmp_path / "a_raw.fif", verbose="error")
    assert main(["info", str(tmp_path / "a_raw.fif")]) == 0
    assert "read them with --modality eeg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("read it with sidecars=False", {"no_sidecars"}, "read it with --no-sidecars"),
        ("read it with allow_maxshield=True", {"allow_maxshield"}, "read it with --allow-maxshield"),
        ("give atlas.image=, a label.gii file", {"atlas"}, "give --atlas, a label.gii file"),
        ("use window_seconds=4", {"window"}, "use --window 4"),
        ("without it: drop='EEG A1'", {"drop"}, "without it: --drop 'EEG A1'"),
        ("without them: drop=['EEG A1', 'M2'], ...", {"drop"}, "without them: --drop 'EEG A1' --drop M2, ..."),
        ("read it with pick=['mag']", {"pick"}, "read it with --pick mag"),
        ("read it with pick=['mag']", {"drop"}, "read it with pick=['mag']"),
        ("set random=1", {"drop"}, "set random=1"),
        (
            "read it with montage= or channel_names= (in memory: channels= of an array, Raw.set_montage of MNE)",
            {"montage", "channel_names"},
            "read it with --montage or --channel-names",
        ),
    ],
)
def test_words_of_python_become_options(text, options, words):
    assert in_options(text, options) == words


#: Cures that only Python has, said of what only Python has: arrays, Epochs, atlases by hand
IN_PYTHON = (
    "mne.EpochsArray(",
    "brainof.from_array(",
    "rename=",
    "pip install",
    "regular expression",
    "plot()",
)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a module that are no docstrings, with 4 for what is filled in."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | said:
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "4" for v in node.values)


@pytest.mark.parametrize("command", ["embed", "explain"])
def test_every_cure_of_reading_is_an_option_of_the_commands_that_read(command):
    """Walks the texts of all modules that a file goes through until it is checked against a contract."""
    parser = _subparsers(make_parser([command]))[0].choices[command]
    options = {text.removeprefix("--").replace("-", "_") for text in option_strings(parser)}
    source = Path(brainof.__file__).parent
    files = [*source.glob("io/**/*.py"), *source.glob("prepare/*.py"), source / "inference" / "windows.py"]
    files += [source / f"{name}.py" for name in ("contract", "plausibility", "recording", "channels")]
    assert len(files) > 40
    left = []
    for path in files:
        for line, text in texts(path):
            words = in_options(text, options)
            python = " " in words and re.search(r"\b[a-z]\w+=(?![=\]])|\b[a-z]\w+\((?!s\b)[a-z.)]", words)
            if python and not any(word in words for word in IN_PYTHON):
                left.append(f"{path.name}:{line}: {words}")
    assert left == []


def test_every_option_that_a_text_names_exists():
    known = set(option_strings(make_parser()))
    elsewhere = {"--index-url"}  # pip's
    source = Path(brainof.__file__).parent
    named = {
        (path.name, line, word)
        for path in source.rglob("*.py")
        if path.name != "provenance.py"  # asks git
        for line, text in texts(path)
        for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+(?![\w{])", text)
    }
    assert len(named) > 100
    assert sorted(found for found in named if found[2] not in known | elsewhere) == []


def test_what_libraries_print_does_not_reach_standard_output(tmp_path, capsys, monkeypatch):
    import brainof.cli.index as command

    def run(args):
        print("categories.xml not found")  # noqa: T201
        mne.set_log_level("info")
        mne.utils.logger.info("Reading")
        out(json.dumps({}))

    monkeypatch.setattr(command, "run", run)
    try:
        assert main(["index", str(tmp_path), "--json"]) == 0
    finally:
        mne.set_log_level("warning")
    said = capsys.readouterr()
    assert json.loads(said.out) == {}
    assert "categories.xml" in said.err


def test_a_reader_who_has_enough_does_not_end_the_command(monkeypatch):
    """As in `brainof prepare --list | head`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr("brainof.cli.results", [*results, stream])
        out("more")
        out("and more")  # the work goes on, and nobody is told


def test_every_field_of_reading_that_is_an_option_is_said_as_one():
    """A field of a ReadError is an argument or a word of the file; what could be both is listed here by hand."""
    parser = _subparsers(make_parser(["info"]))[0].choices["info"]
    options = {text.removeprefix("--").replace("-", "_") for text in option_strings(parser)}
    named = set()
    for path in Path(brainof.__file__).parent.glob("io/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            fields = [keyword.value for keyword in getattr(node, "keywords", ()) if keyword.arg == "field"]
            named |= {field.value for field in fields if isinstance(field, ast.Constant)}
    assert len(named) > 30
    dotted = {"atlas.image", "atlas.labels", "atlas.grid_mm"}
    assert named & (options | dotted) == set(ReadError.arguments)


def test_a_wrong_pick_names_the_option(tmp_path, capsys):
    path = edf(tmp_path / "a.edf")
    assert main(["info", path, "--pick", "C4"]) == 2
    assert capsys.readouterr().err == f"brainof: {path}: --pick: no channel 'C4'; did you mean 'C3'?\n"
