"""Experts: every back end equals the formula; counts, bias and balance behave under training, evaluation and casts."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from brainof.errors import ConfigError
from brainof.model import expert_backends
from brainof.model.balance import update_balance
from brainof.model.experts import Experts


def experts(backend="loop", dtype=torch.float64, **changes) -> Experts:
    options = {"dim": 16, "experts": 6, "top_k": 2, "hidden": 8, "shared": 8, **changes}
    return Experts(**options, backend=backend).to(dtype)


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


@pytest.mark.parametrize("backend", ["loop", "masked"])
@pytest.mark.parametrize("shared", [0, 8])
def test_equals_the_formula_in_float64(backend, shared):
    layer = experts(backend, shared=shared)
    nn.init.normal_(layer.selection_bias, std=0.2)
    x = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    expected, found = formula(layer, x), layer(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    probe, leaves = torch.randn_like(x), [x, *layer.parameters()]
    for a, b in zip(
        torch.autograd.grad(found, leaves, probe), torch.autograd.grad(expected, leaves, probe), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_grouped_products_equal_the_loop():
    loop, grouped = experts("loop", torch.float32), experts("grouped", torch.float32)
    grouped.load_state_dict(loop.state_dict())
    x = torch.randn(4, 16, 16)
    probe = torch.randn_like(x)
    results = []
    for layer in (loop, grouped):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        results.append([y, *torch.autograd.grad(y, [leaf, *layer.parameters()], probe)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("together", [False, True])
def test_filled_rows_change_nothing(monkeypatch, together):
    """In bfloat16 the rows of each expert are filled up; in float64 that can be seen to be exact."""
    layer, x = experts("loop"), torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    probe, leaves = torch.randn_like(x), [x, *layer.parameters()]
    plain = [layer(x), *torch.autograd.grad(layer(x), leaves, probe)]
    monkeypatch.setattr(expert_backends, "multiple_for", lambda _: 4)
    monkeypatch.setattr(expert_backends, "at_once", lambda *_: together)
    filled = [layer(x), *torch.autograd.grad(layer(x), leaves, probe)]
    for a, b in zip(filled, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_experts_are_computed_at_once_where_loads_are_alike():
    assert expert_backends.at_once([256, 320, 288], 320, hidden=128, dim=128)
    assert not expert_backends.at_once([32, 32, 1024], 1024, hidden=128, dim=128)  # mostly fillers
    assert not expert_backends.at_once([256, 320, 288], 320, hidden=4096, dim=16)  # too much between the products


def test_experts_that_nobody_chose_are_harmless():
    layer = experts("loop")
    layer.selection_bias[2:] = -10
    x = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), formula(layer, x))
    layer(x).sum().backward()
    assert (layer.gate_up_ED2F.grad[2:] == 0).all()
    assert layer.gate_up_ED2F.grad[:2].abs().sum() > 0


def test_grouped_products_refuse_float64():
    with pytest.raises(ConfigError, match="expert_backend"):
        experts("grouped")(torch.randn(1, 3, 16, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["loop", "grouped"])
def test_bfloat16_autocast_reaches_the_experts(backend):
    layer = experts(backend, torch.float32, dim=32, hidden=16)
    x = torch.randn(2, 64, 32)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
        ids, gates = layer.route(x.flatten(0, 1))
    assert rough.dtype == torch.bfloat16
    assert gates.dtype == torch.float32  # the router stays exact, so the same experts are chosen
    assert torch.equal(ids, layer.route(x.flatten(0, 1))[0])
    assert (rough - exact).norm() / exact.norm() < 2e-2


def test_counts_only_valid_tokens_in_train_mode_by_modality():
    layer = experts()
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    layer.eval()(x)
    assert layer.load_ME.sum() == 0
    valid = torch.ones(3, 5, dtype=torch.bool)
    valid[0, 2:] = False
    layer.train()(x, valid, torch.tensor([0, 2, 2]))
    assert layer.load_ME.sum(1).tolist() == [2 * 2, 0, 2 * 10]
    ids = layer.route(x.flatten(0, 1))[0].view(3, 5, 2)
    expected = torch.bincount(ids[1:].flatten(), minlength=6)
    assert layer.load_ME[2].tolist() == expected.tolist()


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_does_not_count_twice(reentrant):
    layer, x = experts(), torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    checkpoint(layer, x, use_reentrant=reentrant).sum().backward()
    assert layer.load_ME.sum() == 3 * 5 * 2


def test_accumulated_batches_are_one_update():
    layer = experts()
    for _ in range(3):
        layer(torch.randn(3, 5, 16, dtype=torch.float64))
    load = layer.load_ME.sum(0).double()
    metrics = update_balance(layer, gamma=0.1)
    step = torch.sign(load.mean() - load)
    torch.testing.assert_close(layer.selection_bias, (0.1 * (step - step.mean())).float())
    assert metrics["max_vio"] == pytest.approx(load.max().item() / load.mean().item() - 1)
    assert layer.load_ME.sum() == 0


def test_gamma_zero_measures_and_moves_nothing():
    layer = experts()
    layer(torch.randn(3, 5, 16, dtype=torch.float64))
    assert update_balance(layer, gamma=0)["max_vio"] > 0
    assert (layer.selection_bias == 0).all()
    assert update_balance(layer, gamma=0) == {}
    assert update_balance(nn.Linear(2, 2)) == {}


def test_a_skewed_router_becomes_balanced():
    layer = experts(dtype=torch.float32)
    with torch.no_grad():  # all tokens share a direction that the first two experts like
        layer.router_ED[:2, 0] += 1.0
    x = torch.randn(16, 64, 16)
    x[..., 0] += 3
    violation = []
    for gamma in [0.02] * 60 + [0.002] * 40:
        with torch.no_grad():
            layer(x)
        violation.append(update_balance(layer, gamma)["max_vio"])
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
    layer(torch.randn(2, 6, 16, dtype=torch.float64))
    assert layer.load_ME.sum(0).tolist() == [4] * 6


def test_counts_of_all_ranks_are_summed_in_one_collective(monkeypatch):
    layers = nn.ModuleList([experts(), experts()])
    for layer in layers:
        layer(torch.randn(3, 5, 16, dtype=torch.float64))
    own = [layer.load_ME.clone() for layer in layers]
    other = torch.randint(0, 50, (2, 3, 6))
    calls = []

    def all_reduce(tensor, group=None):
        calls.append(group)
        tensor += other

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    update_balance(layers, gamma=0.1, group="ranks")
    assert calls == ["ranks"]
    for layer, mine, theirs in zip(layers, own, other, strict=True):
        load = (mine + theirs).sum(0).double()
        step = torch.sign(load.mean() - load)
        torch.testing.assert_close(layer.selection_bias, (0.1 * (step - step.mean())).float())
