"""The weights that come with brainof."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import brainof
from brainof.cli import main
from brainof.errors import CheckpointError, ConfigError
from brainof.pretraining import find_config
from brainof.release import save_release
from brainof.release.load import record_of


def test_they_are_small_and_say_what_they_are():
    folder = Path(brainof.release.__file__).with_name("pretrained")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12e6
    card = (folder / "README.md").read_text()
    for words in (
        "license:",
        "random weights",
        "best classical",
        "Kept out, to be evaluated on",
        "simulated people only",
    ):
        assert words in card
    about = record_of("pretrained")
    assert all(row.get("license") for row in about["data"])
    assert not any("GPL" in row["license"] for row in about["data"])


def test_they_were_trained_by_the_recipe_that_comes_along_on_nobody_who_is_kept_out():
    about, config = record_of("pretrained"), find_config("pretrained")
    assert type(config.objective)(**about["objective"]) == config.objective
    assert (about["steps"], about["seed"], about["lr"]) == (config.steps, config.seed, config.lr)
    trained = {f"{row['dataset']}/{name}" for row in about["data"] for name in row["subjects"]}
    assert trained
    assert not trained & set(config.sampling.exclude)


def test_they_are_the_default():
    model, contract = brainof.load()
    assert set(contract.modalities) == {"eeg", "meg", "fmri"}
    signal = np.random.default_rng(0).standard_normal((2, 19, 1024)) * 20e-6
    names = [
        "Fp1",
        "Fp2",
        "F7",
        "F3",
        "Fz",
        "F4",
        "F8",
        "T7",
        "C3",
        "Cz",
        "C4",
        "T8",
        "P7",
        "P3",
        "Pz",
        "P4",
        "P8",
        "O1",
        "O2",
    ]
    values = brainof.embed(signal, sfreq=256.0, channels=names).values
    assert np.isfinite(values).all()
    again = brainof.embed(signal, model, sfreq=256.0, channels=names).values
    np.testing.assert_array_equal(values, again)


def test_a_revision_is_refused():
    with pytest.raises(ConfigError, match="comes with brainof"):
        brainof.load("pretrained", revision="main")
    with pytest.raises(CheckpointError, match="pretrained"):
        brainof.load("pretraind")


def test_half_precision_is_read_as_single(tmp_path, model, contract):
    save_release(tmp_path / "half", model, contract, half=True)
    loaded, _ = brainof.load(tmp_path / "half")
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == value.dtype
        torch.testing.assert_close(loaded.state_dict()[name], value.half().to(value.dtype), rtol=0, atol=0)
    assert (tmp_path / "half" / "model.safetensors").stat().st_mode & 0o777 == tmp_path.joinpath(
        "half"
    ).stat().st_mode & 0o666


def test_the_command_describes_them(capsys):
    assert main(["info", "pretrained"]) == 0
    assert "mist-122" in capsys.readouterr().out


def test_the_page_of_results_holds_the_table_of_the_card():
    card = (Path(brainof.release.__file__).with_name("pretrained") / "README.md").read_text()
    table = [line for line in card.partition("## Scores")[2].splitlines() if line.startswith("|")]
    page = (Path(__file__).parents[2] / "docs" / "results" / "pretrained.md").read_text().splitlines()
    assert len(table) > 10
    assert [line for line in table if line not in page] == []
