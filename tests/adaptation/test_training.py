"""What tuning descends, says and refuses."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainof.adaptation import (
    AttentiveProbe,
    Ensemble,
    FewShot,
    FullFineTune,
    LinearProbe,
    LoRA,
    MLPProbe,
    Target,
    TrainingSet,
    adaptation,
)
from brainof.adaptation.base import AdaptedEnsemble
from brainof.adaptation.calibration import class_uncertainty, fit_temperature, log_probabilities
from brainof.adaptation.heads import LinearHead
from brainof.adaptation.training import Fit, Network, Trained, head_groups, split_groups, train
from brainof.adaptation.tuning import apply_factors
from brainof.errors import ConfigError

BOUNDS = {
    MLPProbe: {"hidden": 0, "dropout": 1.0, "epochs": 0},
    AttentiveProbe: {"queries": 0, "dropout": -0.1, "epochs": 0},
    LoRA: {"rank": 0, "alpha": 0.0, "expert_rank": -1, "lr": 0.0, "dropout": 1.0, "epochs": 0, "batch_size": 0},
    FullFineTune: {"lr": 0.0, "layer_decay": 1.01, "epochs": 0, "warmup": 1.0, "clip": 0.0, "weight_decay": -1e-3},
    Trained: {"validation": 1.0, "patience": 0, "label_smoothing": 1.0, "mixup": -0.1, "lr": 0.0, "warmup": -0.1},
    Ensemble: {"members": 1},
    FewShot: {"shots": 0, "repeat": -1},
}


@pytest.mark.parametrize("kind", BOUNDS, ids=lambda kind: kind.__name__)
def test_values_out_of_range_are_refused(kind):
    for field, value in BOUNDS[kind].items():
        with pytest.raises(ConfigError, match=field):
            kind.parse({field: value})


def test_low_rank_updates_are_scaled_by_alpha_over_rank_two():
    assert (LoRA().rank, LoRA().alpha, LoRA().expert_rank) == (32, 64.0, 1)


def test_features_stand_for_a_backbone_that_was_not_changed(model, examples, target):
    probe = LinearProbe().apply(model, TrainingSet(examples, target))
    tuned = FullFineTune(epochs=1, validation=0.0).apply(model, TrainingSet(examples, target))
    assert (probe.frozen, tuned.frozen) == (True, False)
    zeros = {"features": lambda pool: np.zeros((len(examples), probe.head.width), np.float32)}
    assert np.ptp(probe.outputs(examples, **zeros), axis=1).max() == 0
    np.testing.assert_array_equal(tuned.outputs(examples, **zeros), tuned.outputs(examples))


def test_values_at_the_edge_of_the_range_are_taken():
    assert LoRA.parse({"expert_rank": 0, "weight_decay": 0, "warmup": 0, "validation": 0, "mixup": 0}).expert_rank == 0
    assert FullFineTune.parse({"layer_decay": 1, "epochs": 1, "batch_size": 1, "patience": 1}).layer_decay == 1
    assert (MLPProbe.parse({"hidden": 1, "dropout": 0}).hidden, FewShot.parse({"shots": 1}).repeat) == (1, 0)


def test_the_loss_of_a_regression_is_smooth_l1_in_standard_deviations_of_the_target():
    target = Target.values(np.array([10.0, 30.0, 20.0, 60.0]))
    head, x = LinearHead("mean", 2, 1), torch.randn(4, 2)
    network = Network(lambda chunk: x[torch.from_numpy(chunk)], head, [], ())
    fit = Fit(network, target, np.arange(4), LoRA(), 0)
    torch.nn.init.normal_(head.linear.weight)
    out = head(x).detach().numpy()[:, 0]
    deviation = np.abs(out - target.y[:, 0]) / np.std(target.y)
    expected = np.where(deviation < 1, deviation**2 / 2, deviation - 0.5).mean()
    assert fit(np.arange(4))["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_no_validation_groups_are_said(model, examples, target, caplog):
    quick = {"epochs": 1, "expert_rank": 0, "rank": 1}
    with caplog.at_level(logging.INFO):
        LoRA(**quick, validation=0.5).apply(model, TrainingSet(examples, target))
        assert "no validation groups" not in caplog.text
        LoRA(**quick, validation=0.0).apply(model, TrainingSet(examples, target))
    assert "no validation groups: training runs all 1 epochs" in caplog.text


def test_stored_factors_are_added_to_weights_that_take_gradients():
    layer = torch.nn.Linear(3, 2)
    before, a, b = layer.weight.detach().clone(), torch.randn(1, 3), torch.randn(2, 1)
    apply_factors(layer, {"weight.lora_A": a, "weight.lora_B": b}, {"weight": 4.0})
    torch.testing.assert_close(layer.weight.detach(), before + 4 * b @ a)


def test_members_that_agree_have_no_epistemic_uncertainty():
    agreed = np.random.default_rng(0).dirichlet(np.ones(7), 200)
    found = class_uncertainty(np.stack([agreed] * 3))
    assert found["epistemic"].min() >= 0
    np.testing.assert_allclose(found["epistemic"], 0, atol=1e-12)


def test_passes_with_dropout_repeat_by_their_seed(model, examples, target):
    fitted = LinearProbe().apply(model, TrainingSet(examples, target))
    fitted.head.dropout.p = 0.5
    default, again, other = (
        fitted.outputs(examples, samples=2, **seed) for seed in ({}, {"random_state": 0}, {"random_state": 1})
    )
    np.testing.assert_array_equal(default, again)
    assert np.abs(default - other).max() > 1e-3


def test_an_ensemble_may_have_one_member():
    """What is left where all but one are taken away is still of its kind."""
    only = SimpleNamespace(kind="regression", model="its model")
    found = AdaptedEnsemble([only], adaptation("probe"))  # type: ignore[list-item]
    assert (found.kind, found.model, found.members()) == ("regression", "its model", [only])


@pytest.mark.parametrize("name", ["linear", "linear_probe", "ridge"])
def test_the_linear_adaptation_is_known_by_its_other_names(name):
    with pytest.raises(ConfigError, match=f"adapt: unknown adaptation '{name}'; the linear one is 'probe'"):
        adaptation(name)


def test_values_are_standardised_by_the_rows_that_train():
    head = LinearHead("mean", 2, 1)
    target = Target.values(np.array([10.0, 30.0, 20.0, 600.0]))
    Fit(Network(lambda chunk: torch.zeros(len(chunk), 2), head, [], ()), target, np.arange(3), LoRA(), 0)
    assert head.centre_K.item() == 20.0
    assert head.spread_K.item() == pytest.approx(np.std([10, 30, 20]))


def test_mixup_mixes_features_and_labels_alike_and_only_in_training():
    """Every row is of a class of its own, and its features say which: what the head sees must also be its target."""
    n = 6
    head, x = LinearHead("mean", n, n), torch.eye(n)
    torch.nn.init.normal_(head.linear.weight)
    target = Target.classes(np.array(list("abcdef")))
    fit = Fit(Network(lambda chunk: x[torch.from_numpy(chunk)], head, [], ()), target, np.arange(n), LoRA(mixup=0.7), 5)
    seen = []
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy().copy()))

    def loss(labels):
        out = head.linear(torch.from_numpy(labels)).detach().numpy()
        return -(labels * (out - np.log(np.exp(out).sum(1, keepdims=True)))).sum(1).mean()

    assert fit.train()(np.arange(n))["loss"].item() == pytest.approx(loss(seen[0]), rel=1e-5)
    np.testing.assert_allclose(seen[0].sum(0), 1, rtol=1e-6)  # each takes part in two mixtures, with f and with 1 - f
    np.testing.assert_allclose(seen[0].sum(1), 1, rtol=1e-6)
    assert ((seen[0] > 0).sum(1) == 2).sum() >= 2
    assert fit.eval()(np.arange(n))["loss"].item() == pytest.approx(loss(np.eye(n, dtype=np.float32)), rel=1e-5)
    np.testing.assert_array_equal(seen[1], np.eye(n))


def test_the_temperature_is_that_of_people_who_did_not_train(examples, target):
    """A decision that is right for 3 of 4 windows of theirs, and for 7 of 12 of the others."""
    rows, held = split_groups(target, 0.34, 0)
    assert (len(rows), len(held)) == (24, 12)
    sign = 2.0 * target.y - 1
    sign[held[:3]] *= -1
    sign[rows[:10]] *= -1
    head, x = LinearHead("mean", 1, 2), torch.from_numpy(sign[:, None]).float()
    head.linear.weight.data = torch.tensor([[-2.0], [2.0]])
    network = Network(lambda chunk: x[torch.from_numpy(chunk)], head, head_groups(head, 0.0), (head,))
    still = LoRA(epochs=1, lr=1e-12, validation=0.34, warmup=0.0, weight_decay=0.0)
    _, temperature = train(network, examples, target, still, 0)
    assert temperature == pytest.approx(4 / np.log(3), rel=1e-3)  # odds 3 : 1 of logits 4 apart


def test_what_tuning_counted_is_forgotten(model, examples, target):
    """Tokens of each expert, for a balance that adapting does not move."""
    tuned = FullFineTune(epochs=1, validation=0.0).apply(model, TrainingSet(examples, target)).model
    assert all(not block.ffn.load_ME.any() for block in tuned.blocks)


def test_members_answer_with_their_mean_probability():
    values = np.random.default_rng(0).standard_normal((3, 1, 5, 2))

    def chances(logits):
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    one, two = SimpleNamespace(temperature=1.0), SimpleNamespace(temperature=2.5)
    np.testing.assert_allclose(log_probabilities([(two, values[0])]), np.log(chances(values[0, 0] / 2.5)))
    both = (chances(values[1, 0]) + chances(values[2, 0] / 2.5)) / 2
    np.testing.assert_allclose(log_probabilities([(one, values[1]), (two, values[2])]), np.log(both))


def test_a_decision_that_is_too_cautious_is_sharpened():
    logits = np.tile([-0.05, 0.05], (4, 1))  # right 3 of 4 times
    assert fit_temperature(logits, np.array([1, 1, 1, 0])) == pytest.approx(0.1 / np.log(3), rel=1e-3)
