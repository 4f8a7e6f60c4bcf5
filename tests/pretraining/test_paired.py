from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
import torch

from brainof.corpus import open_corpora
from brainof.errors import CheckpointError, ConfigError, HealthError
from brainof.model import BrainOF
from brainof.pretraining import release_checkpoint
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.health import scores_of_latents
from brainof.pretraining.masking import Masking
from brainof.pretraining.objective import Objective
from brainof.pretraining.paired import PairedConfig, PairedObjective, _masked, mask_pairs, pretrain_pairs
from brainof.utils.files import read_json


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


def masking(**mask) -> Masking:
    return Masking(MaskConfig(**mask), 64)


def test_a_lost_modality_is_hidden_whole_and_never_encoded(model, make_batch):
    objective = PairedObjective(model.eval(), ObjectiveConfig())
    batches = {"eeg": make_batch("eeg", lengths=(256, 100, 64)), "fmri": make_batch("fmri", n_windows=3)}
    batches["eeg"].channel_mask_BC[0, 2] = False
    pairs = mask_pairs(masking(), batches, np.random.default_rng(0), lost="eeg")
    assert pairs.parts["eeg"].predicted_mask_BH.sum(1).tolist() == [5 * 4, 6 * 2, 6 * 1]
    assert pairs.parts["eeg"].visible_BV.shape[1] == 0
    _, alone = objective.fuse(pairs)
    pairs.parts["eeg"].seen_BCT.fill_(1e3)
    assert torch.equal(objective.fuse(pairs)[1], alone)
    with pytest.raises(ConfigError, match="every modality is hidden"):
        objective.fuse(replace(pairs, parts={"eeg": pairs.parts["eeg"]}))


def test_pairs_of_which_a_side_cannot_be_masked_are_left_out(make_batch):
    batches = {"eeg": make_batch("eeg", n_windows=3), "fmri": make_batch("fmri", n_windows=3)}
    batches["eeg"].channel_mask_BC[1] = False
    pairs = mask_pairs(masking(), batches, np.random.default_rng(0))
    for name, part in pairs.parts.items():
        assert torch.equal(part.batch.signal_BCT, batches[name].signal_BCT[[0, 2]])


@pytest.mark.parametrize("frequency", ["log_spectrum", "raw"])
@pytest.mark.parametrize("order", [["eeg", "fmri"], ["fmri", "eeg"]])
def test_the_loss_on_pairs_is_the_mean_over_modalities_of_all_terms(make_batch, frequency, order):
    """Second method: each modality by itself as the objective on windows compares it, from the fused latents."""
    torch.manual_seed(0)
    outputs = ["waveform", "log_spectrum", "connectivity"]
    model = BrainOF.from_preset("debug", tokens={"connectivity": True}, decoder={"outputs": outputs}).eval()
    config = ObjectiveConfig(alpha=0.25, frequency=frequency, connectivity=0.5)
    objective, single = PairedObjective(model, config), Objective(model, config)
    batches = {"eeg": make_batch("eeg", n_channels=9), "fmri": make_batch("fmri", n_channels=3)}
    pairs = mask_pairs(masking(), batches, np.random.default_rng(0), order=order)
    latents, expected = None, []
    for name in order:
        latents = single.encode(pairs.parts[name], model.tokens(pairs.parts[name].batch), latents)
    for part in pairs.parts.values():
        tokens = model.tokens(part.batch)
        terms = single.compare(part, tokens, single.decode(part, tokens, latents), latents)
        time, frequency_, connectivity = (
            terms[name] / part.n_predicted for name in ("time", "frequency", "connectivity")
        )
        expected.append(0.75 * time + 0.25 * frequency_ + 0.5 * connectivity)
        assert min(time, frequency_, connectivity) > 0
    torch.testing.assert_close(objective(pairs, pairs.counts)["loss"], sum(expected) / 2)
    parts = pairs.split(3)
    assert len(parts) == 3
    torch.testing.assert_close(sum(objective(part, pairs.counts)["loss"] for part in parts), sum(expected) / 2)


def test_every_decoder_learns_on_pairs_and_the_curriculum_is_followed(make_batch, monkeypatch):
    """The connectivity decoder gets gradients; .3 of the patches are hidden until 90 % of the steps, then .8."""
    import brainof.pretraining.paired as module

    torch.manual_seed(0)
    outputs = ["waveform", "log_spectrum", "connectivity"]
    fields = {"tokens": {"connectivity": True}, "decoder": {"outputs": outputs, "kind": "separate"}}
    model = BrainOF.from_preset("debug", **fields)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if "decoders.2" in name}
    corpus, fractions, fourier = Pairs(make_batch, n=12), [], []
    plain = module.mask_pairs

    def watched(*args, **options):
        pairs = plain(*args, **options)
        fractions.append(pairs.parts["eeg"].n_predicted / (4 * 6))
        fourier.append(pairs.parts["eeg"].seen_BCT is not None)
        return pairs

    monkeypatch.setattr(module, "mask_pairs", watched)
    mask = {"ratio": 0.3, "changes": [{"start": 0.9, "ratio": 0.8}], "fourier_start": 0.5}
    settings = {"steps": 10, "batch_size": 4, "modality_dropout": 0, "mask": mask, "objective": {"connectivity": 1.0}}
    settings |= {"loader": {"prefetch": 0}, "precision": "float32", "min_channels": 1.0}
    pretrain_pairs(PairedConfig.parse(settings), corpus, corpus.table, model)
    assert fractions == [pytest.approx(2 / 6)] * 9 + [pytest.approx(5 / 6)]
    assert fourier == [False] * 5 + [True] * 5
    moved = {name: not torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before}
    assert all(moved.values()), moved


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
    objective = PairedObjective(model, config.objective)
    held_out = {name: batch.take_windows(torch.arange(72, 96)) for name, batch in corpus.batches.items()}
    pairs = mask_pairs(masking(), held_out, np.random.default_rng(0), lost="fmri", fourier=False)
    with torch.inference_mode():
        tokens, latents = objective.eval().fuse(pairs)
        found = scores_of_latents(objective, pairs.parts["fmri"], tokens["fmri"], latents)
    assert found["r2"] > 0.05
    assert found["r2"] > found["r2_shuffled"] + 0.15


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"hide": "meg"}, "hide: 'meg'"), ({"objective": {"connectivity": 1}}, "needs the output 'connectivity'")],
)
def test_wrong_settings_are_named(make_batch, model, changes, match):
    corpus = Pairs(make_batch, n=4)
    with pytest.raises(ConfigError, match=match):
        pretrain_pairs(PairedConfig.parse({"steps": 1, **changes}), corpus, corpus.table, model)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="all complete"):
        pretrain_pairs(PairedConfig(steps=1), corpus, corpus.table.replace(0, -1), model)  # type: ignore[arg-type]


class Killed(Exception):
    pass


def test_a_run_on_pairs_that_was_killed_ends_as_one_that_was_not(corpus, monkeypatch, tmp_path):
    import brainof.pretraining.trainer as module

    corpora = open_corpora(corpus)
    rows = {name: corpora.index.index[corpora.index["modality"] == name][:12] for name in ("eeg", "fmri")}
    table = pd.DataFrame(rows)
    config = PairedConfig.parse({"steps": 6, "batch_size": 4, "checkpoint_every": 2, "log_every": 4})

    def fresh() -> BrainOF:
        torch.manual_seed(0)
        return BrainOF.from_preset("debug")

    whole = fresh()
    expected = pretrain_pairs(config, corpora, table, whole)
    plain, steps = module.move_biases, iter(range(100))

    def dying(*args):
        if next(steps) == 4:
            raise Killed
        return plain(*args)

    monkeypatch.setattr(module, "move_biases", dying)
    with pytest.raises(Killed):
        pretrain_pairs(config, corpora, table, fresh(), tmp_path)
    monkeypatch.setattr(module, "move_biases", plain)
    torch.manual_seed(1)
    other = BrainOF.from_preset("debug")  # its weights are those of the checkpoint from here on
    assert pretrain_pairs(config, corpora, table, other, tmp_path) == expected
    for name, tensor in whole.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    with pytest.raises(ConfigError, match="other pairs"):
        pretrain_pairs(config, corpora, table.iloc[1:], fresh(), tmp_path)
    with pytest.raises(ConfigError, match="was started with"):
        pretrain_pairs(config.replaced(["hide=fmri"]), corpora, table, fresh(), tmp_path)
    about = read_json(tmp_path / "about.json")
    assert about["record"]["pairs"] == 12
    assert about["record"]["windows"] == {"sim-eeg": 12, "sim-fmri": 12}
    assert {"brainof", "torch", "numpy", "python"} <= set(about["record"]["versions"])
    assert set(about["contract"]["modalities"]) == {"eeg", "fmri"}
    with pytest.raises(CheckpointError, match="is a run on pairs"):
        release_checkpoint(tmp_path, tmp_path / "release", "latest")


def test_pairs_take_no_term_on_latents_of_whole_windows(model):
    with pytest.raises(ConfigError, match=r"objective.terms.latent: not for pairs; leave it out"):
        PairedObjective(model, ObjectiveConfig(terms={"latent": 1.0}))


def test_order_and_what_is_lost_are_drawn_for_each_batch(make_batch):
    corpus, names = Pairs(make_batch, n=8), ["eeg", "fmri"]

    def drawn(**options):
        config = PairedConfig.parse({"batch_size": 2, "steps": 40, "modality_dropout": 0.5, **options})
        pairs = [_masked(config, corpus, corpus.table, masking(), number) for number in range(40)]
        return [(list(each.parts), each.lost) for each in pairs]

    found = drawn()
    assert 10 < sum(order == names for order, _ in found) < 30
    assert {lost for _, lost in found} == {None, *names}
    assert 10 < sum(lost is None for _, lost in found) < 30
    assert found == drawn()
    assert found != drawn(seed=1)
    assert all(order == names for order, _ in drawn(any_order=False))
    assert {lost for _, lost in drawn(hide="fmri")} == {None, "fmri"}


def test_experts_are_balanced_on_pairs(make_batch):
    model, corpus = BrainOF.from_preset("debug"), Pairs(make_batch, n=4)
    config = PairedConfig.parse({"steps": 1, "batch_size": 4, "balance_rate": 0.01, "precision": "float32"})
    pretrain_pairs(config, corpus, corpus.table, model)
    for block in model.blocks:  # loads above their mean go down by the rate, those below go up
        assert np.ptp(block.ffn.selection_bias.numpy()) == pytest.approx(0.02)


def test_pairs_whose_loss_is_not_finite_end_the_training(make_batch):
    corpus = Pairs(make_batch, n=4)
    settings = {"steps": 2, "batch_size": 4, "lr": 1e30, "warmup": 0.0, "clip": 1e30, "precision": "float32"}
    with pytest.raises(HealthError, match=r"loss .*gradient norm .* at step 2 .*; lower lr"):
        pretrain_pairs(PairedConfig.parse(settings), corpus, corpus.table, BrainOF.from_preset("debug"))


def test_planned_pairs_cannot_be_changed(make_batch):
    """They are handed from the threads that plan them to the one that trains."""
    pairs = mask_pairs(masking(), {"eeg": make_batch("eeg"), "fmri": make_batch("fmri")}, np.random.default_rng(0))
    with pytest.raises(FrozenInstanceError):
        pairs.lost = "eeg"
    with pytest.raises(FrozenInstanceError):
        pairs.parts["eeg"].n_predicted = 0
