"""Experts equal the formula; counts, bias and balance behave under training, evaluation and casts."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from brainof.model.balance import balance_metrics, move_biases
from brainof.model.experts import Experts


def experts(dtype=torch.float64, **changes) -> Experts:
    options = {"dim": 16, "experts": 6, "top_k": 2, "hidden": 8, "shared": 8, **changes}
    return Experts(**options).to(dtype)


def formula(layer: Experts, x: torch.Tensor) -> torch.Tensor:
    """One token at a time, as the equations are written."""
    rows = []
    for token in x.flatten(0, -2):
        scores = torch.sigmoid(layer.router_ED @ token)
        chosen = (scores + layer.selection_bias).topk(layer.top_k).indices
        gates = scores[chosen] / scores[chosen].sum()
        y = layer.shared(token[None])[0] if layer.shared is not None else 0
        for gate, i in zip(gates, chosen, strict=True):
            a, b = (token @ layer.gate_up_ED2F[i]).chunk(2)
            y = y + gate * ((F.silu(a) * b) @ layer.down_EFD[i])
        rows.append(y)
    return torch.stack(rows).view_as(x)


def counted(layer: Experts, x: torch.Tensor, modality: torch.Tensor | None = None) -> torch.Tensor:
    """Outputs of a pass whose tokens are counted, as in the model."""
    y, ids = layer(x)
    layer.count(ids, modality)
    return y


@pytest.mark.parametrize("shared", [0, 8])
def test_equals_the_formula_in_float64(shared):
    layer = experts(shared=shared)
    nn.init.normal_(layer.selection_bias, std=0.2)
    x = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    expected, (found, ids) = formula(layer, x), layer(x)
    assert ids.shape == (3, 5, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    probe, leaves = torch.randn_like(x), [x, *layer.parameters()]
    for a, b in zip(
        torch.autograd.grad(found, leaves, probe), torch.autograd.grad(expected, leaves, probe), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_experts_that_nobody_chose_are_harmless():
    layer = experts()
    layer.selection_bias[2:] = -10
    x = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x)[0], formula(layer, x))
    layer(x)[0].sum().backward()
    assert (layer.gate_up_ED2F.grad[2:] == 0).all()
    assert layer.gate_up_ED2F.grad[:2].abs().sum() > 0


def test_bfloat16_autocast_reaches_the_experts():
    layer = experts(torch.float32, dim=32, hidden=16)
    x = torch.randn(2, 64, 32)
    exact, ids = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough, again = layer(x)
        _, gates = layer.route(x.flatten(0, 1))
    assert rough.dtype == torch.bfloat16
    assert gates.dtype == torch.float32  # the router stays exact, so the same experts are chosen
    assert torch.equal(ids, again)
    assert (rough - exact).norm() / exact.norm() < 2e-2


def test_counts_in_train_mode_only_by_modality():
    layer = experts()
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    counted(layer.eval(), x)
    assert layer.load_ME.sum() == 0
    counted(layer.train(), x, torch.tensor([0, 2, 2]))
    assert layer.load_ME.sum(1).tolist() == [10, 0, 2 * 10]
    expected = torch.bincount(layer(x)[1][1:].flatten(), minlength=6)
    assert layer.load_ME[2].tolist() == expected.tolist()


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_does_not_count_twice(reentrant):
    layer, x = experts(), torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    y, ids = checkpoint(layer, x, use_reentrant=reentrant)
    layer.count(ids)
    y.sum().backward()
    assert layer.load_ME.sum() == 3 * 5 * 2


def test_accumulated_batches_are_one_update():
    layer = experts()
    for _ in range(3):
        counted(layer, torch.randn(3, 5, 16, dtype=torch.float64))
    load = layer.load_ME.sum(0).double()
    metrics = balance_metrics(move_biases(layer, gamma=0.1))
    step = torch.sign(load.mean() - load)
    torch.testing.assert_close(layer.selection_bias, (0.1 * (step - step.mean())).float())
    assert metrics["max_vio"] == pytest.approx(load.max().item() / load.mean().item() - 1)
    assert layer.load_ME.sum() == 0


def test_gamma_zero_measures_and_moves_nothing():
    layer = experts()
    counted(layer, torch.randn(3, 5, 16, dtype=torch.float64))
    assert balance_metrics(move_biases(layer, gamma=0))["max_vio"] > 0
    assert (layer.selection_bias == 0).all()
    assert balance_metrics(move_biases(layer, gamma=0)) == {}
    assert move_biases(nn.Linear(2, 2)) is None


def test_a_skewed_router_becomes_balanced():
    layer = experts(dtype=torch.float32)
    with torch.no_grad():  # all tokens share a direction that the first two experts like
        layer.router_ED[:2, 0] += 1.0
    x = torch.randn(16, 64, 16)
    x[..., 0] += 3
    violation = []
    for gamma in [0.02] * 60 + [0.002] * 40:
        with torch.no_grad():
            counted(layer, x)
        violation.append(balance_metrics(move_biases(layer, gamma))["max_vio"])
    assert violation[0] > 1.0
    assert violation[-1] < 0.1


def test_bias_is_saved_and_stays_float32_when_the_module_is_cast():
    layer = experts(dtype=torch.float32)
    nn.init.normal_(layer.selection_bias, std=1e-3)
    bias = layer.selection_bias.clone()
    other = experts(dtype=torch.float32)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.selection_bias, bias)
    assert "load_ME" not in layer.state_dict()
    for cast in (nn.Module.half, nn.Module.bfloat16, nn.Module.double, lambda m: m.to(torch.bfloat16)):
        copied = cast(copy.deepcopy(layer))
        assert copied.selection_bias.dtype == torch.float32
        assert torch.equal(copied.selection_bias, bias)
        assert copied.load_ME.dtype == torch.int64


def test_forced_balance_sends_tokens_in_turn():
    layer = experts()
    layer.force_balance = True
    counted(layer, torch.randn(2, 6, 16, dtype=torch.float64))
    assert layer.load_ME.sum(0).tolist() == [4] * 6


def test_counts_of_all_ranks_are_summed_in_one_collective(monkeypatch):
    layers = nn.ModuleList([experts(), experts()])
    for layer in layers:
        counted(layer, torch.randn(3, 5, 16, dtype=torch.float64))
    own = [layer.load_ME.clone() for layer in layers]
    other = torch.randint(0, 50, (2, 3, 6))
    calls = []

    def all_reduce(tensor, group=None):
        calls.append(group)
        tensor += other

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    move_biases(layers, gamma=0.1, group="ranks")
    assert calls == ["ranks"]
    for layer, mine, theirs in zip(layers, own, other, strict=True):
        load = (mine + theirs).sum(0).double()
        step = torch.sign(load.mean() - load)
        torch.testing.assert_close(layer.selection_bias, (0.1 * (step - step.mean())).float())
