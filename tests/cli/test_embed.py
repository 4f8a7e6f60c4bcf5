from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from brainof import embed
from brainof.cli import main
from brainof.errors import ConfigError
from brainof.inference.embeddings import load_embeddings


@pytest.fixture
def regions(tmp_path) -> Path:
    path = tmp_path / "regions.npz"
    np.savez(path, ts=np.random.default_rng(0).standard_normal((150, 6)))
    return path


READING = ["--variable", "ts", "--time-axis", "0", "--modality", "fmri", "--t-r", "2"]


def test_a_preset_embeds_and_says_that_its_weights_are_random(regions, tmp_path, capsys):
    target = tmp_path / "e.parquet"
    assert main(["embed", str(regions), "--model", "debug", "--out", str(target), *READING]) == 0
    captured = capsys.readouterr()
    assert "RANDOM" in captured.err
    assert "1 window x 64 features, 1 recording, 300 s of signal" in captured.out
    frame = pd.read_parquet(target)
    assert frame["onset"].tolist() == [0.0]
    assert frame["duration"].tolist() == [300.0]
    assert frame["file"].tolist() == [str(regions)]
    assert [name for name in frame if name.startswith("e0")][:2] == ["e0000", "e0001"]


def test_pooling_and_window_are_options(regions, tmp_path):
    target = tmp_path / "e.npz"
    options = ["--pool", "mean", "--window", "128", "--batch-size", "1"]
    assert main(["embed", str(regions), "--model", "debug", "--out", str(target), *options, *READING]) == 0
    found = load_embeddings(target)
    assert found.values.shape == (3, 32)
    assert found.table["onset"].tolist() == [0.0, 100.0, 200.0]


def test_one_bad_file_of_two_is_named_and_the_other_written(regions, tmp_path, capsys):
    target = tmp_path / "e.npz"
    files = [str(regions), str(tmp_path / "absent.npz"), str(regions)]
    assert main(["embed", *files, "--model", "debug", "--out", str(target), *READING]) == 2
    said = capsys.readouterr().err
    assert "absent.npz: file not found" in said
    assert "brainof: 1 of 3 files could not be embedded" in said
    assert len(load_embeddings(target)) == 2


def test_a_file_that_a_library_fails_on_is_named_and_the_other_written(regions, tmp_path, capsys, monkeypatch):
    import brainof.cli.info as info

    plain = info.read

    def read(file, **options):
        if "broken" in file:
            raise RuntimeError("of a library")
        return plain(file, **options)

    monkeypatch.setattr(info, "read", read)
    target = tmp_path / "e.npz"
    files = [str(tmp_path / "broken.npz"), str(regions)]
    assert main(["embed", *files, "--model", "debug", "--out", str(target), *READING]) == 2
    assert "broken.npz: RuntimeError: of a library" in capsys.readouterr().err
    assert len(load_embeddings(target)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "debgu"}, "did you mean 'debug'"),
        ({"--out": "e.xlsx"}, "cannot write .xlsx; use .parquet, .npz, .csv"),
        ({"--pool": "meen"}, "did you mean 'mean'"),
        ({"--window": "-3"}, "--window"),
        ({"--batch-size": "0"}, "--batch-size: 0; give 1 or more"),
        ({"--device": "quantum"}, "--device"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(regions, tmp_path, capsys, change, message):
    options = {"--model": "debug", "--out": "e.npz", **change}
    options["--out"] = str(tmp_path / options["--out"])
    words = [word for pair in options.items() for word in pair]
    assert main(["embed", str(regions), *words, *READING]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["regions.npz"]


def test_a_recording_below_one_patch_is_said_to_be_too_short(regions, tmp_path, capsys):
    np.savez(tmp_path / "short.npz", ts=np.load(regions)["ts"][:5])
    target = str(tmp_path / "e.npz")
    assert main(["embed", str(tmp_path / "short.npz"), "--model", "debug", "--out", target, *READING]) == 2
    words = r"short.npz: duration: 5 samples \(.* s\) after preparation, a patch of the model has \d+; give a longer"
    assert re.search(words, capsys.readouterr().err)


def test_a_file_that_cannot_be_written_ends_before_the_work(regions, tmp_path, capsys, monkeypatch):
    import brainof.cli.info as info

    monkeypatch.setattr(info, "read", None)  # not reached
    (tmp_path / "taken.csv").mkdir()
    for out, why in (("none/e.npz", "No such file or directory"), ("taken.csv", "Is a directory")):
        assert main(["embed", str(regions), "--model", "debug", "--out", str(tmp_path / out), *READING]) == 3
        assert f"{out}: cannot be written ({why}); choose a folder you may write to" in capsys.readouterr().err


@pytest.mark.real
def test_an_edf_file_is_embedded(real_data, tmp_path):
    target = tmp_path / "e.parquet"
    file = sorted((real_data / "eegmat" / "edf").glob("*.edf"))[0]
    assert main(["embed", str(file), "--model", "debug", "--out", str(target)]) == 0
    frame = pd.read_parquet(target)
    assert len(frame) == 16
    assert frame["duration"].iloc[-1] == pytest.approx(2.0)


def test_a_note_on_several_files_is_said_once(regions, tmp_path, capsys):
    again = tmp_path / "again.npz"
    again.write_bytes(regions.read_bytes())
    words = ["--model", "debug", "--out", str(tmp_path / "e.csv"), *READING, "--resample", "0.25"]
    assert main(["embed", str(regions), str(again), *words]) == 0
    said = capsys.readouterr().err.splitlines()
    notes = [line for line in said if "RANDOM" not in line]
    assert notes
    assert all(line.startswith("brainof: 2 x: ") for line in notes)
    assert len(notes) == len(set(notes))
    assert len(load_embeddings(tmp_path / "e.csv")) == 2


def test_the_parts_of_a_split_file_are_one_recording(tmp_path, capsys):
    info = mne.create_info(["Fz", "Cz", "Pz"], 256.0, "eeg")
    values = np.random.default_rng(0).normal(0, 2e-5, (3, 256 * 900))
    mne.io.RawArray(values, info, verbose="error").save(tmp_path / "a_raw.fif", split_size="2MB", verbose="error")
    files = sorted(map(str, tmp_path.glob("*.fif")))
    assert len(files) == 3
    target = tmp_path / "e.npz"
    assert main(["embed", *files, "--model", "debug", "--out", str(target)]) == 0
    assert f"brainof: {files[1]}: left out: it is read with a_raw.fif" in capsys.readouterr().err
    assert len(load_embeddings(target)) == 225
    with pytest.raises(ConfigError, match=r"a_raw-1\.fif: is read with a_raw\.fif, which is given too; leave it out"):
        embed(files, "debug", contract=None)
