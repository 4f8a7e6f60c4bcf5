"""Weights cast once per step give what autocast gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.model import BrainOF
from brainof.pretraining.cast import CastModel
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.mtfm import MTFM
from brainof.pretraining.threads import GradientThreads


def gradients(objective, plan, model, leaves=None):
    team = GradientThreads(list(model.parameters()), 1, leaves)

    def loss(part):
        with torch.autocast("cpu", torch.bfloat16):
            sums = objective.sums(part)
        return (sums.time + sums.frequency) / plan.n_hidden, None

    ((value, _),) = team.backward([plan], loss)
    found = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return value, found


@pytest.mark.parametrize("changes", [{}, {"backbone": {"ffn": "dense"}, "tokens": {"connectivity": True}}])
def test_losses_and_gradients_are_those_of_autocast_to_the_bit(make_batch, changes):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **changes).train()
    cast = CastModel(model)
    masking = MaskConfig(), ObjectiveConfig()
    plan = MTFM(model, *masking).plan(make_batch(n_windows=3), np.random.default_rng(0))
    expected = gradients(MTFM(model, *masking), plan, model)
    found = gradients(MTFM(cast.model, *masking), plan, model, cast.leaves)
    assert found[0] == expected[0]
    for name, gradient in expected[1].items():
        assert torch.equal(found[1][name], gradient), name
        assert gradient.dtype == torch.float32


def test_a_step_of_the_float32_weights_arrives_after_a_refresh():
    model = BrainOF.from_preset("debug")
    cast = CastModel(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    cast.refresh()
    for ours, exact in zip(cast.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, exact.to(ours.dtype))
    assert cast.model.norm.weight is model.norm.weight
    assert cast.model.blocks[0].attention.query.weight.dtype == torch.bfloat16


def test_counts_and_biases_of_experts_are_those_of_the_model():
    model = BrainOF.from_preset("debug")
    ours, own = CastModel(model).model.blocks[0].ffn, model.blocks[0].ffn
    assert ours.load_ME is own.load_ME
    assert ours.selection_bias is own.selection_bias
    assert ours.router_ED is own.router_ED
