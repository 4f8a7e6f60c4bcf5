from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import Ridge
from torch import nn

from brainof.adaptation import (
    ADAPTATIONS,
    AttentiveProbe,
    Ensemble,
    FewShot,
    FullFineTune,
    LinearProbe,
    LoRA,
    MLPProbe,
    Target,
    TrainingSet,
    TwoStage,
    WindowList,
    adaptation,
    few_shot_rows,
)
from brainof.adaptation.calibration import fit_temperature
from brainof.adaptation.heads import AttentiveHead
from brainof.adaptation.nested import bootstrap
from brainof.adaptation.training import Trained, class_weights, split_groups, train
from brainof.adaptation.tuning import LowRank, add_low_rank, merge_low_rank
from brainof.errors import ConfigError, LabelError
from brainof.inference.batches import batches, pooled
from brainof.model import BrainOF, count, preset

QUICK = {"epochs": 2, "batch_size": 12}


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    "chosen",
    [
        LinearProbe(),
        MLPProbe(**QUICK),
        AttentiveProbe(**QUICK),
        LoRA(rank=2, **QUICK),
        FullFineTune(**QUICK),
        FewShot(shots=4),
        TwoStage(second=FullFineTune(**QUICK)),
        Ensemble(members=2),
        FewShot(shots=4, then=LoRA(rank=2, **QUICK)),
        TwoStage(second=MLPProbe(**QUICK)),
        Ensemble(members=2, of=FewShot(shots=4, then=LoRA(rank=2, **QUICK))),
    ],
    ids=lambda chosen: chosen.name,
)
def test_every_adaptation_fits_repeats_and_leaves_the_given_model_alone(chosen, model, examples, target):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (chosen.apply(model, TrainingSet(examples, target, random_state=5)) for _ in range(2))
    for one, two in zip(first.members(), second.members(), strict=True):
        out = one.outputs(examples)
        assert out.shape == (1, len(examples), 2)
        assert np.isfinite(out).all()
        np.testing.assert_array_equal(out, two.outputs(examples))
        assert (one.model is model) == chosen.frozen
        assert one.report["trainable"] <= one.report["total"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert adaptation(chosen.to_dict()) == chosen


def test_the_linear_probe_is_ridge_regression(model, examples, target):
    fitted = LinearProbe().apply(model, TrainingSet(examples, target))
    x = pooled(model, examples, "mean_std").astype(np.float64)
    kept = x.std(axis=0) > 0
    z = (x[:, kept] - x[:, kept].mean(axis=0)) / x[:, kept].std(axis=0)
    plain = Ridge(alpha=fitted.report["penalty"] * x.shape[1]).fit(z, 2.0 * target.y - 1)
    out = fitted.outputs(examples)[0]
    np.testing.assert_allclose(out[:, 0], -out[:, 1], atol=1e-9)
    offset = plain.predict(z) - out[:, 1]
    np.testing.assert_allclose(offset, offset[0], atol=1e-6)  # the equal-prior offset is one number


def test_tuning_learns_what_a_probe_of_random_features_does_not(model, examples, target):
    fitted = FullFineTune(epochs=15, lr=3e-3, layer_decay=1.0, validation=0.0, batch_size=6).apply(
        model, TrainingSet(examples, target)
    )
    assert (fitted.outputs(examples)[0].argmax(axis=1) == target.y).mean() > 0.95


def test_regression_outputs_are_in_units_of_the_target(model, examples, target):
    values = Target.values(1000.0 + 10 * target.y, target.groups)
    for chosen in (LinearProbe(), MLPProbe(**QUICK)):
        out = chosen.apply(model, TrainingSet(examples, values)).outputs(examples)[0]
        assert out.shape == (36, 1)
        assert abs(out.mean() - 1005) < 5


# Low rank


def test_merged_low_rank_updates_equal_unmerged_ones_in_float64(examples, monkeypatch):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug").double().eval()
    # parametrized weights are read by the plain forms; all are, so that sums have one order throughout
    for kernel in ("sampler", "attention"):
        monkeypatch.setattr(f"brainof.model.kernels.{kernel}.plain_inference", lambda x: False)
    plain = pooled(model, examples, "mean_std")
    chosen = LoRA(rank=3, expert_rank=2)
    ranks = chosen.ranks(model)
    assert {name.rsplit(".", 1)[1] for name in ranks} == {"weight", "gate_up_ED2F", "down_EFD"}
    updates = add_low_rank(model, ranks, chosen.alpha / chosen.rank)
    np.testing.assert_array_equal(pooled(model, examples, "mean_std"), plain)  # B starts at zero
    for update in updates.values():
        nn.init.normal_(update.B, std=0.1)
    unmerged = pooled(model, examples, "mean_std")
    assert np.abs(unmerged - plain).max() > 1e-3
    merge_low_rank(model, updates)
    np.testing.assert_allclose(pooled(model, examples, "mean_std"), unmerged, rtol=1e-12, atol=1e-12)
    assert type(model.blocks[0].ffn).__name__ == "Experts"


def test_the_update_of_stacked_experts_is_one_product_per_expert():
    weight = torch.zeros(3, 5, 7, dtype=torch.float64)
    update = LowRank(weight, rank=2, scale=1.5)
    nn.init.normal_(update.B)
    for expert in range(3):
        expected = 1.5 * (update.B[expert] @ update.A[expert]).T
        torch.testing.assert_close(update(weight)[expert], expected)


def test_lora_trains_about_two_percent_of_base():
    with torch.device("meta"):
        model = BrainOF(preset("base"))
    ranks = LoRA().ranks(model)
    trained = 0
    for name, rank in ranks.items():
        *stack, rows, columns = model.get_parameter(name).shape
        trained += int(np.prod(stack)) * rank * (rows + columns)
    assert not any("decoders" in name for name in ranks)
    assert 0.018 < trained / count(preset("base"))["total"] < 0.026


def test_lora_targets_that_match_nothing_are_refused(model, examples, target):
    with pytest.raises(ConfigError, match="'atention' matches no linear map"):
        LoRA(targets=["atention"], **QUICK).apply(model, TrainingSet(examples, target))


def test_lora_changes_only_what_it_names_and_full_leaves_the_decoder(model, examples, target):
    lora = LoRA(rank=2, expert_rank=0, **QUICK).apply(model, TrainingSet(examples, target))
    changed = {n for n, v in lora.model.state_dict().items() if not torch.equal(v, model.state_dict()[n])}
    assert changed == {name.rsplit(".lora_", 1)[0] for name in lora.changes}
    full = FullFineTune(**QUICK).apply(model, TrainingSet(examples, target))
    same = {n for n, v in full.model.state_dict().items() if torch.equal(v, model.state_dict()[n])}
    assert {n for n in full.model.state_dict() if n.startswith("decoders")} < same
    assert not {n for n, _ in model.blocks.named_parameters(prefix="blocks")} & same
    # the balance of the experts is not moved, and nothing is left in its counts
    assert torch.equal(full.model.blocks[0].ffn.selection_bias, model.blocks[0].ffn.selection_bias)
    assert full.model.blocks[0].ffn.load_ME.sum() == 0


# Training


class Small(nn.Module):
    """Any module with forward_features and pool can be adapted; batches may be anything."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 6)

    def forward_features(self, batch):
        return self.linear(batch)[:, None]

    def pool(self, latents, kind, modality=""):
        return latents.flatten(1)


class Rows:
    def __init__(self, n: int) -> None:
        self.x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
        self.kinds, self.costs = np.zeros(n, np.int64), np.ones(n, np.int64)

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows):
        return self.x[torch.as_tensor(rows)]


@pytest.mark.parametrize("chosen", [LinearProbe(), FullFineTune(**QUICK), LoRA(targets=["linear"], rank=2, **QUICK)])
def test_any_module_with_features_and_pooling_can_be_adapted(chosen):
    torch.manual_seed(0)
    rows = Rows(30)
    target = Target.classes((rows.x[:, 0] > 0).numpy(), np.arange(30) % 6)
    assert chosen.apply(Small(), TrainingSet(rows, target)).outputs(rows).shape == (1, 30, 2)


def test_validation_holds_out_whole_people_and_needs_them(target):
    inside, outside = split_groups(target, 0.3, 0)
    assert len(outside)
    assert not set(target.groups[inside]) & set(target.groups[outside])
    assert len(split_groups(Target.classes(target.y), 0.3, 0)[1]) == 0
    assert len(split_groups(target, 0.0, 0)[1]) == 0
    y = np.tile([0, 1], 6)
    for people, some in ((3, True), (2, False)):  # two cannot lend one
        named = Target.classes(y, np.repeat([f"p{i}" for i in range(people)], 12 // people))
        assert (len(split_groups(named, 0.3, 0)[1]) > 0) == some


def test_early_stopping_keeps_the_best_weights(model, examples, target):
    options = MLPProbe(epochs=40, lr=0.1, patience=2, warmup=0.0, dropout=0.0)  # diverges soon
    fitted = options.apply(model, TrainingSet(examples, target))
    report = fitted.report
    assert report["best_epoch"] <= report["epochs"] <= report["best_epoch"] + 2 < 40
    again = MLPProbe(epochs=40, lr=0.1, patience=2, warmup=0.0, dropout=0.0).apply(model, TrainingSet(examples, target))
    held_out = np.isin(target.groups, report["validation_groups"])
    logits = torch.from_numpy(again.outputs(examples)[0][held_out])
    loss = float(nn.functional.cross_entropy(logits, torch.from_numpy(target.y[held_out])))
    assert loss == pytest.approx(report["validation_loss"], abs=1e-5)


def test_class_weights_are_inverse_frequencies_or_by_name():
    target = Target.classes(["a"] * 6 + ["b"] * 2)
    np.testing.assert_allclose(class_weights("balanced", target, np.arange(8)), [8 / 12, 2.0])
    np.testing.assert_allclose(class_weights({"b": 3.0}, target, np.arange(8)), [1.0, 3.0])
    with pytest.raises(ConfigError, match="no class 'c'"):
        class_weights({"c": 1.0}, target, np.arange(8))


def test_class_weights_label_smoothing_and_mixup_change_what_is_learnt(model, examples, target):
    base = MLPProbe(epochs=5, validation=0, dropout=0)
    plain = base.apply(model, TrainingSet(examples, target)).outputs(examples)[0]
    for change in ({"class_weight": {"task": 5.0}}, {"label_smoothing": 0.4}, {"mixup": 1.0}):
        other = (
            adaptation({**base.to_dict(), **change}).apply(model, TrainingSet(examples, target)).outputs(examples)[0]
        )
        assert np.abs(other - plain).max() > 1e-4
    weighted = MLPProbe(epochs=5, validation=0, dropout=0, class_weight={"task": 5.0}).apply(
        model, TrainingSet(examples, target)
    )
    assert (weighted.outputs(examples)[0] @ [-1, 1]).mean() > (plain @ [-1, 1]).mean()
    with pytest.raises(ConfigError, match="need classes"):
        MLPProbe(label_smoothing=0.1).apply(model, TrainingSet(examples, Target.values(target.y)))
    assert train is not None
    assert Trained.model_fields["mixup"].default == 0


def test_lower_layers_learn_more_slowly():
    torch.manual_seed(0)
    groups, _ = FullFineTune(layer_decay=0.5)._open(BrainOF.from_preset("debug"))
    scales = {round(group["lr_scale"], 4) for group in groups}
    assert scales == {0.125, 0.25, 0.5, 1.0}  # sampler and tokens, two blocks, the last norm


def test_two_stages_start_where_the_probe_ended(model, examples, target):
    chosen = TwoStage(second=FullFineTune(epochs=1, lr=1e-12, dropout=0.0, validation=0.0))
    (probe,) = LinearProbe().apply(model, TrainingSet(examples, target)).members()
    both = chosen.apply(model, TrainingSet(examples, target))
    np.testing.assert_allclose(both.outputs(examples)[0], probe.outputs(examples)[0] / probe.temperature, atol=1e-4)


def test_a_probe_as_second_stage_goes_on_training_the_head(model, examples, target):
    (probe,) = MLPProbe(**QUICK).apply(model, TrainingSet(examples, target)).members()
    (both,) = (
        TwoStage(first=MLPProbe(**QUICK), second=MLPProbe(lr=1e-2, **QUICK))
        .apply(model, TrainingSet(examples, target))
        .members()
    )
    assert both.report["trainable"] == probe.report["trainable"] > 0
    assert not np.allclose(both.outputs(examples) * both.temperature, probe.outputs(examples) * probe.temperature)


# Few shots, calibration


def test_few_shots_are_nested_and_repeats_differ(target):
    few, more = few_shot_rows(target, 3), few_shot_rows(target, 7)
    assert set(few) < set(more)
    assert np.bincount(target.y[more]).tolist() == [7, 7]
    assert set(few_shot_rows(target, 3, repeat=1)) != set(few)
    with pytest.raises(LabelError, match="class 'rest' has 18 examples, 19 were asked for"):
        few_shot_rows(target, 19)


def expected_calibration_error(probabilities, codes, bins=10):
    """Mean distance between confidence and accuracy, over bins of confidence weighted by their size."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == codes
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    inside = [which == b for b in range(bins) if (which == b).any()]
    return sum(abs(correct[rows].mean() - confidence[rows].mean()) * rows.mean() for rows in inside)


def test_temperature_calibrates_overconfident_logits():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 3))
    codes = np.array([rng.choice(3, p=p) for p in softmax(logits, axis=1)])
    loud = 5 * logits
    temperature = fit_temperature(loud, codes)
    assert temperature == pytest.approx(5, rel=0.1)
    before, after = (expected_calibration_error(softmax(loud / t, axis=1), codes) for t in (1.0, temperature))
    assert after < 0.03 < 0.15 < before


def test_targets_are_checked():
    with pytest.raises(LabelError, match="one class only"):
        Target.classes(["a", "a"])
    with pytest.raises(LabelError, match="1 of 3 targets are NaN or infinite, the first at 2"):
        Target.values([1.0, 2.0, np.nan])
    with pytest.raises(LabelError, match="2 groups for 3 examples"):
        Target.classes(["a", "b", "a"], ["x", "y"])


def test_names_and_parameters_of_adaptations_are_checked():
    assert set(ADAPTATIONS) >= {"frozen", "probe", "mlp", "attentive", "lora", "full", "few_shot", "two_stage"}
    with pytest.raises(ConfigError, match="did you mean 'lora'"):
        adaptation("lorra")
    with pytest.raises(ConfigError, match="rank"):
        adaptation({"adaptation": "lora", "rnak": 3})


def test_windows_share_a_batch_only_with_their_kind(examples):
    from brainof.adaptation import PreparedWindow

    first = examples.windows[0]
    longer = PreparedWindow(np.zeros((3, 200), np.float32), first.channels, 128.0, "eeg", first.good)
    mixed = WindowList([first, longer, first, longer], 64)
    assert [chunk.tolist() for chunk in batches(mixed, np.arange(4), 8)] == [[0, 2], [1, 3]]
    assert mixed.key(0) == mixed.key(2) != mixed.key(1)


def test_an_attentive_head_is_scaled_attention_of_its_queries():
    head = AttentiveHead("concat", 3 * 16, 2, latents=3, queries=2).eval()
    z_BLD = 3 * torch.randn(5, 3, 16, generator=torch.Generator().manual_seed(0))
    q, k, v = (each.detach() for each in (head.queries_QD, head.key(z_BLD), head.value(z_BLD)))
    read_BQD = nn.functional.scaled_dot_product_attention(q.expand(5, -1, -1), k, v)
    torch.testing.assert_close(head.body(z_BLD.flatten(1)), head.linear(read_BQD.flatten(1)))


def test_patience_begins_after_the_warm_up(model, examples, target, monkeypatch):
    """Losses that only rise: the first epoch is the best, and 2 epochs after the warm-up of 6 the training ends."""
    rising = iter(range(100))
    monkeypatch.setattr("brainof.adaptation.training.validation_loss", lambda *_: next(rising))
    options = MLPProbe(epochs=12, patience=2, warmup=0.5)
    report = options.apply(model, TrainingSet(examples, target)).report
    assert (report["best_epoch"], report["epochs"]) == (1, 8)


def test_a_bootstrap_draws_whole_groups_again_and_again():
    groups = np.repeat([f"p{i}" for i in range(6)], 3)
    target = Target.classes(np.tile([0, 1, 0], 6), groups)
    drawn = [bootstrap(target, np.random.default_rng(seed)) for seed in range(20)]
    for rows in drawn:
        assert len(rows) == 18
        _, times = np.unique(rows, return_counts=True)
        kept = {name: np.flatnonzero(groups == name) for name in np.unique(groups[rows])}
        assert set(rows) == {row for own in kept.values() for row in own}  # all rows of a group
        assert len(kept) < 6 or (times == 1).all()
    assert sum(len(np.unique(rows)) < 18 for rows in drawn) >= 15  # of 6 draws a group is missed with p = .98
    rare = Target.classes(np.repeat([0, 0, 0, 0, 0, 1], 3), groups)  # one group has the class
    for seed in range(20):
        assert (rare.y[bootstrap(rare, np.random.default_rng(seed))] == 1).any()


def test_a_second_stage_starts_from_one_head():
    for first in ("ensemble", {"adaptation": "few_shot", "then": "ensemble"}):
        with pytest.raises(ConfigError, match="first: an ensemble has several heads"):
            adaptation({"adaptation": "two_stage", "first": first})


def test_an_ensemble_scores_as_it_predicts(model, examples, target):
    """`brainof adapt` and the classifier average probabilities; the mean of logits is another model."""
    from scipy.special import softmax

    from brainof.evaluation.adapt import decision

    data = TrainingSet(examples, target)
    fitted = Ensemble(members=3, of=LinearProbe()).apply(model, data)
    for member, temperature in zip(fitted.parts, (0.05, 1.0, 5.0), strict=True):
        member.temperature = temperature
    parts = [softmax(member.outputs(examples)[0] / member.temperature, axis=1) for member in fitted.parts]
    mean = np.mean(parts, axis=0)
    np.testing.assert_allclose(decision(fitted, data), np.log(mean[:, 1]) - np.log(mean[:, 0]), rtol=1e-6)
    logits = np.mean([m.outputs(examples)[0] / m.temperature for m in fitted.parts], axis=0)
    assert np.abs(decision(fitted, data) - (logits[:, 1] - logits[:, 0])).max() > 0.1


def test_an_attentive_probe_moves_its_example_to_the_device_of_the_model():
    from brainof.adaptation.heads import AttentiveHead

    class Batch:
        device = "cpu"

        def to(self, device: torch.device) -> Batch:
            self.device = device.type
            return self

    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(1, device="meta"))

        def forward_features(self, batch: Batch) -> torch.Tensor:
            assert batch.device == "meta"
            return torch.zeros(1, 5, 2)

    class One:
        def batch(self, rows: np.ndarray) -> Batch:
            return Batch()

    head = AttentiveProbe()._head(Elsewhere(), One(), 10, 2)
    assert isinstance(head, AttentiveHead)
    assert head.latents == 5
