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
from brainof.adaptation.calibration import class_uncertainty
from brainof.adaptation.heads import LinearHead
from brainof.adaptation.low_rank import apply_factors
from brainof.adaptation.training import Fit, Network, Trained
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
