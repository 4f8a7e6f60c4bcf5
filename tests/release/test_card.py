from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

import brainof
from brainof.channels import Channels
from brainof.corpus import CorpusWriter
from brainof.errors import ReadError
from brainof.prepare import Window, default_chain
from brainof.pretraining import PretrainConfig, pretrain
from brainof.release import save_pretrained
from brainof.release.card import model_card

CONFIG = {
    "model": {"preset": "debug"},
    "batch_size": 2,
    "accumulate": 2,
    "steps": 2,
    "health_every": 2,
    "health_grace": 1.0,
    "health_margin": 0.0,
    "precision": "float32",
    "threads": 1,
    "seed": 5,
    "sampling": {"validation": 0.0},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps on two small datasets."""
    root = tmp_path_factory.mktemp("card")
    rng = np.random.default_rng(0)
    channels = Channels(
        [f"c{i}" for i in range(4)], ("eeg",) * 4, positions=rng.uniform(-0.1, 0.1, (4, 3)), frame="head"
    )
    with CorpusWriter(root / "corpus") as writer:
        for name, people in (("first", 2), ("second", 1)):
            about = {
                "title": f"The {name} | set",
                "license": "CC0-1.0",
                "citation": f"{name} et al.",
                "url": "https://x.org",
            }
            writer.add_dataset(name, {"steps": default_chain("eeg").to_steps(), **about})
            for person in range(people):
                row = {"dataset": name, "modality": "eeg", "subject": str(person), "sfreq": 256.0}
                row |= {"recording": f"{name}-{person}", "config": f"{name}-{person}"}
                data = rng.standard_normal((3, 4, 512)).astype(np.float32)
                writer.add(row, channels, [Window(values, 2.0 * k) for k, values in enumerate(data)])
    return pretrain(PretrainConfig.parse(CONFIG), root / "corpus", root / "run")


def test_the_card_of_a_run_says_what_went_in(run):
    card = (run / "release" / "README.md").read_text()
    _, metadata, body = card.split("---\n", 2)
    assert yaml.safe_load(metadata) == {
        "library_name": "brainof",
        "pipeline_tag": "feature-extraction",
        "tags": ["brain-of", "neuroimaging", "eeg"],
    }
    assert r"| [The first \| set](https://x.org) | EEG | 2 | 6 | 0.003 | CC0-1.0 |" in body
    assert "In all: EEG 9 windows" in body
    assert "- The second | set: second et al." in body
    for line in (
        "| steps | 2 |",
        "| windows per step | 4 |",
        "| seed | 5 |",
        "| precision | float32 |",
        "| blocks compiled | False |",
    ):
        assert line in body
    assert ", 1 thread |" in body
    assert "| first | from training |" in body
    assert "Learned from 3 people in 2 datasets" in body
    assert "None were recorded" in body
    assert "| EEG | eeg [V] | 256 | 2 | head | – | repair, resample, filter, bad_channels, normalise |" in body


def test_scores_license_and_notes_are_added_when_a_run_is_shared(run, tmp_path):
    about = {"task": "b", "entry": "run", "kind": "model", "readout": "ridge", "option": "plain", "metric": "roc_auc"}
    rows = [
        {**about, "score": 0.71, "low": 0.65, "high": 0.78, "chance": 0.5, "null_95": 0.55, "p_value": 0.01,
         "transductive": True},
        {**about, "option": "recentred", "score": 0.62, "transductive": True},
        {**about, "entry": "amplitude", "kind": "classical", "score": 0.68, "transductive": False},
        {**about, "entry": "far", "score": None},
        {**about, "entry": "chance", "kind": "chance", "score": 0.9},
    ]  # fmt: skip
    table = tmp_path / "summary.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    folder = save_pretrained(
        run, tmp_path / "m", name="Small", license="cc-by-4.0", scores=table, notes=["Adults only."]
    )
    card = (folder / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n", 2)[1])["license"] == "cc-by-4.0"
    assert "# Small\n" in card
    saw = "saw unlabelled windows of test subjects"
    assert f"| b | run (ridge, {saw}) | roc auc | 0.71 [0.65, 0.78] | 0.5 | 0.55 | 0.01 |" in card
    assert f"| b | run (ridge, recentred, {saw}) | roc auc | 0.62 | – | – | – |" in card
    assert "| b | amplitude (ridge) | roc auc | 0.68 | – | – | – |" in card
    assert "| far" not in card
    assert "0.9" not in card
    assert "- Adults only." in card
    about = json.loads((folder / "config.json").read_text())["about"]
    assert about["data"][0]["people"] == 2  # the record of the run is kept
    model, contract = brainof.load(folder)
    assert contract == brainof.load(run)[1]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name in ("nothing.csv", "other.csv", "m"):
        with pytest.raises(ReadError, match="holds no scores .*; give summary.csv of brainof evaluate"):
            save_pretrained(run, tmp_path / "m2", scores=tmp_path / name)


def test_a_dataset_whose_latents_are_ignored_and_what_is_unknown_are_said(contract, model):
    health = {"d": {"r2": 0.2, "r2_shuffled": 0.2, "held_out": True}, "e": {"r2": 0.3, "r2_shuffled": 0.0}}
    config = {"model": model.config.to_dict(), "about": {"health": health, "windows": {"d": 3}}}
    card = model_card(config, contract)
    assert "The reconstruction does not use the latents of: d." in card
    assert "| d | unknown | unknown | 3 | unknown | not recorded |" in card
    assert "In all: unknown modality 3 windows.\n" in card
    assert "MEG, fMRI are refused" in card
    assert "license of these weights was not stated" in card
