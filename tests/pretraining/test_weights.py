"""Checkpoints as releases, and releases as the start of a run."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import brainof
from brainof.cli import main
from brainof.corpus import open_corpora
from brainof.errors import CheckpointError, ConfigError
from brainof.inference import embed
from brainof.model.whitening import Whitening
from brainof.pretraining import PretrainConfig, pretrain, release_checkpoint

SETTINGS = {
    "model": {"preset": "debug"},
    "batch_size": 4,
    "steps": 6,
    "health_every": 2,
    "checkpoint_every": 1,
    "keep_checkpoints": 3,
    "health_margin": 0.0,
    "precision": "float32",
    "threads": 1,
    "sampling": {"validation": 0.0},
}


def config(**changes) -> PretrainConfig:
    return PretrainConfig.parse(SETTINGS | changes)


@pytest.fixture
def stopped(corpus, tmp_path, monkeypatch, power_cut):
    """A run without a release, that ended in step 6."""
    power_cut(monkeypatch, 5)
    with pytest.raises(RuntimeError, match="power cut"):
        pretrain(config(), corpus, tmp_path / "run")
    return tmp_path / "run"


def test_any_checkpoint_of_a_run_that_has_not_ended_becomes_a_release(stopped, tmp_path, capsys):
    checkpoints = stopped / "checkpoints"
    (checkpoints / "best.json").write_text(json.dumps({"step": 3, "score": 0.5}))
    assert not (stopped / "release").exists()
    for name, step in (("latest", 5), ("best", 3), ("4", 4)):
        words = ["push", str(stopped), "lab/small", "--checkpoint", name, "--to", str(tmp_path / name)]
        assert main(words) == 0
        assert "nothing was sent" in capsys.readouterr().out
        model, contract = brainof.load(tmp_path / name)
        (saved,) = (checkpoints / f"step-{step}").glob("*.safetensors")
        expected = load_file(saved)
        for key, value in model.state_dict().items():
            assert torch.equal(value, expected[f"model.{key}"]), key
        assert set(contract.modalities) == {"eeg", "meg", "fmri"}
        about = json.loads((tmp_path / name / "config.json").read_text())["about"]
        assert (about["steps"], about["name"]) == (step, "small")
        assert bool(about["health"]) == (step == 4)
        assert {row["dataset"] for row in about["data"]} == {"sim-eeg", "sim-meg", "sim-fmri"}


def test_what_is_no_checkpoint_is_named(stopped, tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint '1'; one of: latest, 3, 4, 5"):
        release_checkpoint(stopped, tmp_path / "out", "1")
    (stopped / "checkpoints" / "best.json").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="none has been rated yet"):
        release_checkpoint(stopped, tmp_path / "out")
    with pytest.raises(CheckpointError, match="is not a run of `brainof pretrain`"):
        release_checkpoint(tmp_path, tmp_path / "out")
    state = stopped / "checkpoints" / "step-5" / "state.json"
    state.write_text(state.read_text().replace('"step": 5', '"step": 6'))
    with pytest.raises(CheckpointError, match="not those that were written"):
        release_checkpoint(stopped, tmp_path / "out", "latest")


def test_a_run_starts_from_a_release_and_goes_on_without_it(corpus, tmp_path, monkeypatch, power_cut):
    first = pretrain(config(steps=2), corpus, tmp_path / "first")
    still = config(steps=2, lr=1e-12, weight_decay=0.0, balance_rate=0.0, start=str(first))
    second = pretrain(still, corpus, tmp_path / "second")
    before, after = (brainof.load(run)[0].state_dict() for run in (first, second))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-9, msg=name)
    assert json.loads((second / "release" / "config.json").read_text())["about"]["base_model"] == str(first)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        power_cut(patch, 1)
        pretrain(config(steps=2, start=str(first)), corpus, tmp_path / "third")
    first.rename(tmp_path / "elsewhere")
    assert (pretrain(config(steps=2, start=str(first)), corpus, tmp_path / "third") / "release").is_dir()


def test_a_start_of_another_architecture_names_what_differs(corpus, tmp_path):
    first = pretrain(config(steps=1), corpus, tmp_path / "first")
    other = config(start=str(first), model={"preset": "debug", "sampler": {"latents": 12}})
    with pytest.raises(ConfigError, match=r"model.sampler.latents: 12, but .*first has 8; set model.sampler.latents=8"):
        pretrain(other, corpus, tmp_path / "second")
    assert not (tmp_path / "second" / "config.yaml").exists()


WHITENED = {
    "preset": "debug",
    "sampler": {"latents": 12, "fixed": ["connectivity"]},
    "tokens": {"connectivity": True},
    "decoder": {"kind": "per_output", "outputs": ["waveform", "log_spectrum", "connectivity"]},
    "whitening": {"fmri": "connectivity"},
}


def test_a_release_is_whitened_by_training_people_alone(corpus, tmp_path, caplog):
    changes = {"model": WHITENED, "whiten": ["sim-fmri"], "sampling": {"validation": 0.0, "exclude": ["sim-fmri/3"]}}
    run = pretrain(config(steps=2, **changes), corpus, tmp_path / "run")
    model, _ = brainof.load(run)
    assert (model.whitening["fmri"].gain_R[:32] < 0).all()

    index = open_corpora(corpus).index
    rows = index[(index["dataset"] == "sim-fmri") & (index["subject"].astype(str) != "3")]
    released = release_checkpoint(run, tmp_path / "raw", "latest")
    assert "latents are not whitened" in caplog.text
    raw, _ = brainof.load(released)
    values = embed(open_corpora(corpus), raw, contract=None, rows=rows.index.to_numpy(), pool="concat@connectivity")
    expected = Whitening(4 * 32)
    expected.fit(values.values, rows["subject"].astype(str).to_numpy(), rows["dataset"].astype(str).to_numpy())
    for name, buffer in expected.named_buffers():
        torch.testing.assert_close(getattr(model.whitening["fmri"], name), buffer, msg=name)

    again = pretrain(config(steps=2, **changes), corpus, tmp_path / "again")
    for name, value in brainof.load(again)[0].state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"whiten": ["sim-fmri"]}, "whiten: the model has no latents to whiten"),
        ({"model": WHITENED, "whiten": ["sim-fmr"]}, "no two training windows of one person in 'sim-fmr'.*sim-fmri"),
        ({"model": WHITENED, "whiten": ["sim-eeg"]}, "no two training windows of one person in 'sim-eeg'"),
    ],
)
def test_what_cannot_be_whitened_is_named(corpus, tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text):
        pretrain(config(steps=1, **changes), corpus, tmp_path / "run")
