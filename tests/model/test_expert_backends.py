"""The back ends in bfloat16 against float64, and their hand-written gradients against finite differences."""

from __future__ import annotations

import pytest
import torch

from brainof.model.expert_backends import BACKENDS, _TakeRows, loop, masked

#: Unit roundoff of bfloat16: 8 bits of significand, rounded to nearest
ROUNDOFF = 2.0**-9


def example(dtype, tokens=40, dim=32, hidden=16, experts=6, top_k=2):
    some = torch.tensor([number for number in range(experts) if number != 3])  # one expert gets no tokens
    ids = some[torch.rand(tokens, len(some)).topk(top_k).indices]
    gates = torch.rand(tokens, top_k, dtype=torch.float64)
    values = (
        torch.randn(tokens, dim, dtype=torch.float64),
        gates / gates.sum(-1, keepdim=True),
        torch.randn(experts, dim, 2 * hidden, dtype=torch.float64) * dim**-0.5,
        torch.randn(experts, hidden, dim, dtype=torch.float64) * hidden**-0.5,
    )
    return ids, [value.to(dtype) for value in values]


def results(backend, ids, values, probe):
    x, gates, gate_up, down = (value.detach().clone().requires_grad_() for value in values)
    y = BACKENDS[backend](x, ids, gates, gate_up, down)
    return [y, *torch.autograd.grad(y, (x, gates, gate_up, down), probe.to(y.dtype))]


def test_bfloat16_is_as_exact_as_its_roundings():
    """Rounded values go in, so only what is rounded on the way counts.

    Forward: the two halves, the gate, the hidden row and its gate weight, the output of an expert and the sum over
    experts are rounded once each, relative to their size: about sqrt(7) roundoffs of random sign, 7 at worst. Gradients
    round the recomputed way as well as the way back: twice that.
    """
    torch.manual_seed(0)
    ids, values = example(torch.bfloat16)
    probe = torch.randn(40, 32).bfloat16()
    exact = results("loop", ids, [value.double() for value in values], probe.double())
    for backend in ("loop", "grouped", "masked"):
        for number, (rough, true) in enumerate(zip(results(backend, ids, values, probe), exact, strict=True)):
            assert rough.dtype == torch.bfloat16
            error = (rough.double() - true).norm() / true.norm()
            assert error < (14 if number else 7) * ROUNDOFF, (backend, number, error / ROUNDOFF)
            assert error > 0  # it was computed in bfloat16


def test_an_expert_that_nobody_chose_gets_a_gradient_of_zero():
    ids, values = example(torch.float32)
    assert not (ids == 3).any()
    for backend in ("loop", "grouped", "masked"):
        *_, grad_gate_up, grad_down = results(backend, ids, values, torch.randn(40, 32))
        assert (grad_gate_up[3] == 0).all()
        assert (grad_down[3] == 0).all()
        assert (grad_gate_up[4] != 0).any()


@pytest.mark.parametrize("backend", [loop, masked])
@pytest.mark.parametrize("view", ["dense", "transposed", "broadcast"])
def test_gradients_agree_with_finite_differences_on_views(backend, view):
    ids, (x, gates, gate_up, down) = example(torch.float64, tokens=5, dim=4, hidden=2, experts=3)
    ids = torch.tensor([[0, 1], [1, 0], [2, 1], [0, 2], [0, 1]])
    if view == "transposed":
        x, gates, gate_up, down = (value.mT.contiguous() for value in (x, gates, gate_up, down))
    if view == "broadcast":
        x = x[:1]

    def function(x, gates, gate_up, down):
        if view == "transposed":
            x, gates, gate_up, down = x.mT, gates.mT, gate_up.mT, down.mT
        return backend(x.expand(5, -1), ids, gates, gate_up, down)

    leaves = [value.detach().requires_grad_() for value in (x, gates, gate_up, down)]
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("broadcast", [False, True])
def test_taken_rows_have_the_gradient_of_indexing(copies, broadcast):
    x = torch.randn(1 if broadcast else 6, 4, dtype=torch.float64, requires_grad=True)
    order = torch.randperm(6 * copies)
    take = lambda x: _TakeRows.apply(x.expand(6, -1), order, order.argsort(), copies)  # noqa: E731
    assert torch.equal(take(x), x.expand(6, -1)[order // copies])
    assert torch.autograd.gradcheck(take, x)
