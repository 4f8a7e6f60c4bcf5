from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from brainof.errors import ConfigError
from brainof.model import BrainOF, log_spectrum
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.losses import log_spectrum_loss, waveform_loss
from brainof.pretraining.mtfm import MTFM
from brainof.pretraining.paired import PairedConfig, PairedMTFM, check_pairs, hide_all, pretrain_pairs


class Pairs:
    """A corpus of two modalities in memory: both are mixtures of the same two sources, so each tells the other."""

    def __init__(self, make_batch, n: int = 96) -> None:
        rng = np.random.default_rng(0)
        sources = rng.standard_normal((n, 2, 1)) * np.sin(2 * np.pi * np.arange(64) / 64)
        self.batches = {}
        for name, channels in (("eeg", 6), ("fmri", 5)):
            batch = make_batch(name, n_channels=channels, lengths=(64,) * n)
            mixed = rng.standard_normal((channels, 2)) @ sources
            batch.signal_BCT.copy_(torch.from_numpy(mixed))
            self.batches[name] = batch
        self.table = pd.DataFrame({"eeg": np.arange(n), "fmri": n + np.arange(n)})
        self.n = n

    def batch(self, rows, patch: int = 64):
        name = "eeg" if rows[0] < self.n else "fmri"
        return self.batches[name].take_windows(torch.tensor(rows) % self.n)


def paired(model, **objective) -> PairedMTFM:
    return PairedMTFM(MTFM(model, MaskConfig(), ObjectiveConfig(**objective)))


def test_a_lost_modality_is_hidden_whole_and_never_encoded(model, make_batch):
    objective = paired(model.eval())
    batches = {"eeg": make_batch("eeg", lengths=(256, 100, 64)), "fmri": make_batch("fmri", n_windows=3)}
    batches["eeg"].channel_mask_BC[0, 2] = False
    plans = objective.plans(batches, np.random.default_rng(0), lost="eeg")
    assert plans["eeg"].hidden_mask_BH.sum(1).tolist() == [5 * 4, 6 * 2, 6 * 1]
    assert plans["eeg"].visible_BV.shape[1] == 0
    alone = objective.encode(plans, ["eeg", "fmri"], lost="eeg")
    plans["eeg"].seen_BNS.fill_(1e3)
    assert torch.equal(objective.encode(plans, ["fmri", "eeg"], lost="eeg"), alone)
    with pytest.raises(ConfigError, match="every modality is hidden"):
        objective.encode(plans, ["eeg"], lost="eeg")


def test_the_targets_of_a_hidden_modality_are_its_clean_samples(model, make_batch):
    batch = make_batch("eeg", lengths=(256, 100))
    plan = hide_all(paired(model).mtfm.plan(batch, np.random.default_rng(0), fourier=True), 64)
    clean = batch.signal_BCT.reshape(2, -1, 64)
    for window, n_tokens in enumerate((24, 12)):
        rows = plan.hidden_mask_BH[window]
        assert rows.sum() == n_tokens
        assert torch.equal(plan.target_BHS[window, rows], clean[window, plan.hidden_BH[window, rows]])


def test_both_modalities_count_the_same(model, make_batch):
    """Second method: the mean of two mean losses, written out."""
    objective = paired(model.eval(), alpha=0.25)
    batches = {"eeg": make_batch("eeg", n_channels=9), "fmri": make_batch("fmri", n_channels=3)}
    plans = objective.plans(batches, np.random.default_rng(0))
    latents = objective.encode(plans, ["fmri", "eeg"])
    expected = []
    for plan in plans.values():
        out = objective.decode(plan, latents)
        time = waveform_loss(out["waveform"], plan.target_BHS, plan.sample_mask_BHS) / plan.n_hidden
        frequency = log_spectrum_loss(out["log_spectrum"], log_spectrum(plan.target_BHS), plan.full_BH) / plan.n_hidden
        expected.append(0.75 * time + 0.25 * frequency)
    torch.testing.assert_close(objective.loss(plans, latents), sum(expected) / 2)


def test_one_modality_is_learned_from_the_other(make_batch):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder={"outputs": ["waveform"]})
    corpus = Pairs(make_batch)
    config = PairedConfig.parse(
        {
            "steps": 80,
            "batch_size": 24,
            "lr": 1e-2,
            "modality_dropout": 0.9,
            "hide": "fmri",
            "log_every": 40,
            "mask": {"fourier_ratio": 0},
            "objective": {"frequency": "none"},
        }
    )
    rows = pretrain_pairs(config, corpus, corpus.table.iloc[:72], model)  # type: ignore[arg-type]
    assert [row["step"] for row in rows] == [40, 80]
    objective = PairedMTFM(MTFM(model, config.mask, config.objective))
    held_out = {name: batch.take_windows(torch.arange(72, 96)) for name, batch in corpus.batches.items()}
    found = check_pairs(objective, held_out, np.random.default_rng(0))["fmri"]
    assert found["r2"] > 0.05
    assert found["r2"] > found["r2_shuffled"] + 0.15


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"hide": "meg"}, "hide: 'meg'"), ({"objective": {"frequency": "raw"}}, "not defined on pairs")],
)
def test_wrong_settings_are_named(make_batch, model, changes, match):
    corpus = Pairs(make_batch, n=4)
    with pytest.raises(ConfigError, match=match):
        pretrain_pairs(PairedConfig.parse({"steps": 1, **changes}), corpus, corpus.table, model)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="all complete"):
        pretrain_pairs(PairedConfig(steps=1), corpus, corpus.table.replace(0, -1), model)  # type: ignore[arg-type]


class Killed(Exception):
    pass


def test_a_run_on_pairs_that_was_killed_ends_as_one_that_was_not(make_batch, monkeypatch, tmp_path):
    import brainof.pretraining.paired as module

    corpus = Pairs(make_batch, n=12)
    config = PairedConfig.parse({"steps": 6, "batch_size": 4, "checkpoint_every": 2, "log_every": 4})

    def fresh() -> BrainOF:
        torch.manual_seed(0)
        return BrainOF.from_preset("debug")

    whole = fresh()
    expected = pretrain_pairs(config, corpus, corpus.table, whole)  # type: ignore[arg-type]
    plain, steps = module.update_balance, iter(range(100))

    def dying(*args):
        if next(steps) == 4:
            raise Killed
        return plain(*args)

    monkeypatch.setattr(module, "update_balance", dying)
    with pytest.raises(Killed):
        pretrain_pairs(config, corpus, corpus.table, fresh(), tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "update_balance", plain)
    torch.manual_seed(1)
    other = BrainOF.from_preset("debug")  # its weights are those of the checkpoint from here on
    assert pretrain_pairs(config, corpus, corpus.table, other, tmp_path) == expected  # type: ignore[arg-type]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    with pytest.raises(ConfigError, match="other pairs"):
        pretrain_pairs(config, corpus, corpus.table.iloc[1:], fresh(), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="was started with"):
        pretrain_pairs(config.replaced(["hide=fmri"]), corpus, corpus.table, fresh(), tmp_path)  # type: ignore[arg-type]
