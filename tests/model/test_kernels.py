"""Fast forms equal the plain ones in float64, forward and backward, also twice; in bfloat16 they are as exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from brainof.model import BrainOF, experts, kernels, layers
from brainof.model.attention import (
    Attention,
    CrossAttention,
    apply_map,
    attention_map,
    merge_heads,
    split_heads,
)
from brainof.model.experts import all_experts, loop_experts
from brainof.model.kernels.attention import disjoint, in_range, without_parts
from brainof.model.kernels.experts import filled_experts, grouped_experts, use_filled, use_grouped
from brainof.model.kernels.norm import FastRMSNorm
from brainof.model.layers import RMSNorm

#: Unit roundoff of bfloat16: 8 bits of significand, rounded to nearest
ROUNDOFF = 2.0**-9
FORMS = [loop_experts, all_experts, filled_experts]


def example(dtype=torch.float64, tokens=40, dim=32, hidden=16, experts=6, top_k=2):
    """Chosen experts, of which number 3 gets no tokens, and tokens, gates and weights."""
    some = torch.tensor([number for number in range(experts) if number != 3])
    ids = some[torch.rand(tokens, len(some)).topk(top_k).indices]
    gates = torch.rand(tokens, top_k, dtype=torch.float64)
    values = (
        torch.randn(tokens, dim, dtype=torch.float64),
        gates / gates.sum(-1, keepdim=True),
        torch.randn(experts, dim, 2 * hidden, dtype=torch.float64) * dim**-0.5,
        torch.randn(experts, hidden, dim, dtype=torch.float64) * hidden**-0.5,
    )
    return ids, [value.to(dtype) for value in values]


def results(form, ids, values, probe):
    x, gates, gate_up, down = (value.detach().clone().requires_grad_() for value in values)
    y = form(x, ids, gates, gate_up, down)
    return [y, *torch.autograd.grad(y, (x, gates, gate_up, down), probe.to(y.dtype))]


@pytest.mark.parametrize("form", [all_experts, filled_experts])
def test_forms_of_experts_equal_the_loop(form):
    ids, values = example()
    probe = torch.randn(40, 32, dtype=torch.float64)
    pairs = zip(results(form, ids, values, probe), results(loop_experts, ids, values, probe), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="grouped products came with torch 2.10")
def test_grouped_products_equal_the_loop():
    ids, values = example(torch.float32)
    probe = torch.randn(40, 32)
    pairs = zip(results(grouped_experts, ids, values, probe), results(loop_experts, ids, values, probe), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_as_exact_as_its_roundings():
    """Rounded values go in, so only what is rounded on the way counts.

    Forward: the two halves, the gate, the hidden row and its gate weight, the output of an expert and the sum over
    experts are rounded once each, relative to their size: about sqrt(7) roundoffs of random sign, 7 at worst. Gradients
    round the recomputed way as well as the way back: twice that.
    """
    torch.manual_seed(0)
    ids, values = example(torch.bfloat16)
    probe = torch.randn(40, 32).bfloat16()
    exact = results(loop_experts, ids, [value.double() for value in values], probe.double())
    for form in (*FORMS, *([grouped_experts] if hasattr(F, "grouped_mm") else [])):
        for number, (rough, true) in enumerate(zip(results(form, ids, values, probe), exact, strict=True)):
            assert rough.dtype == torch.bfloat16
            error = (rough.double() - true).norm() / true.norm()
            assert error < (14 if number else 7) * ROUNDOFF, (form, number, error / ROUNDOFF)
            assert error > 0  # it was computed in bfloat16


def test_an_expert_that_nobody_chose_gets_a_gradient_of_zero():
    ids, values = example()
    assert not (ids == 3).any()
    for form in FORMS:
        *_, grad_gate_up, grad_down = results(form, ids, values, torch.randn(40, 32))
        assert (grad_gate_up[3] == 0).all()
        assert (grad_down[3] == 0).all()
        assert (grad_gate_up[4] != 0).any()


def test_the_form_of_the_experts_follows_dtype_device_and_torch(monkeypatch):
    x = torch.randn(4, 8)
    assert experts.choose(x) is loop_experts
    assert experts.choose(x.double()) is loop_experts
    assert use_filled(x.bfloat16())
    assert experts.choose(x.bfloat16()) is filled_experts
    elsewhere = x.bfloat16().to("meta")
    assert use_grouped(elsewhere) == hasattr(F, "grouped_mm")
    monkeypatch.delattr(F, "grouped_mm", raising=False)  # as in torch 2.9
    assert experts.choose(elsewhere) is loop_experts


VIEWS = {
    "dense": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1),
    "sliced": lambda x: x[:, ::2],
    "broadcast": lambda x: x[:, :1].expand(-1, 4, -1),
}


@pytest.mark.parametrize("view", VIEWS)
def test_the_fast_norm_equals_the_plain_one_also_twice(view):
    x = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)
    fast = lambda x, weight: FastRMSNorm.apply(VIEWS[view](x), weight, 1e-5)  # noqa: E731
    expected = F.rms_norm(VIEWS[view](x), (6,), weight, 1e-5)
    torch.testing.assert_close(fast(x, weight), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(fast, (x, weight))
    assert torch.autograd.gradgradcheck(fast, (x, weight))
    # a gradient without memory of its own, as that of a sum
    broadcast = torch.autograd.grad(fast(x, weight).sum(), x)[0]
    dense = torch.autograd.grad(fast(x, weight), x, torch.ones_like(expected).contiguous())[0]
    torch.testing.assert_close(broadcast, dense, rtol=0, atol=1e-14)


def test_the_fast_norm_is_used_in_float32_on_a_cpu_only(monkeypatch):
    used = []
    monkeypatch.setattr(layers.FastRMSNorm, "apply", lambda *_: used.append(None))
    x, norm = torch.randn(2, 8), RMSNorm(8)
    norm(x)
    with torch.no_grad():
        norm(x)
    assert len(used) == 2
    norm(x.bfloat16())
    assert len(used) == 2


SAMPLED = {
    "all": {},
    "visible": {"visible_BV": torch.tensor([[0, 3, 5], [1, 2, 8]])},
    "masked": {
        "visible_BV": torch.tensor([[0, 3, 5], [1, 2, 8]]),
        "visible_mask_BV": torch.tensor([[True, True, False], [False, True, True]]),
    },
    "continued": {"start_BLD": torch.linspace(-1, 1, 2 * 12 * 32).reshape(2, 12, 32).sin().double()},
}


@pytest.mark.parametrize("tokens", [1, 1024], ids=["each", "together"])
@pytest.mark.parametrize("preset", ["shared", "per_output"])
@pytest.mark.parametrize("case", SAMPLED)
def test_latents_sampled_by_window_equal_the_plain_form(make_batch, debug, monkeypatch, case, preset, tokens):
    outputs = ("waveform", "log_spectrum", "connectivity")
    decoder = {"kind": preset, "outputs": outputs}
    config = {"sampler": {"latents": 12}, "tokens": {"connectivity": True}, "decoder": decoder}
    model = debug(**config)
    for weight in model.parameters():  # gains of one would hide where they went
        weight.data += 0.1 * torch.randn_like(weight)
    monkeypatch.setattr(kernels.sampler, "TOKENS", tokens)
    other_rates = replace(make_batch(), interval_B=torch.tensor([1 / 128, 1 / 100]))
    for batch in (make_batch(), make_batch(lengths=[192, 100]), other_rates):
        expected = model.encode(model.tokens(batch), **SAMPLED[case])
        with torch.no_grad():
            assert kernels.sampler.use_by_window(model.encoder, model.latents_LD)
            for layout in (None, model.layout(batch)):
                found = model.encode(model.tokens(batch, layout), **SAMPLED[case])
                torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-10)


def test_latents_are_sampled_by_window_in_inference_only(debug):
    use, encoder, x = kernels.sampler.use_by_window, debug().encoder, torch.randn(2, 3)
    assert not use(encoder, x)
    with torch.no_grad():
        assert use(encoder, x)
        assert not use(encoder, x.bfloat16())
        assert not use(debug(sampler={"blocks": 2}).encoder, x)
        assert not use(debug(sampler={"kind": "interpolate", "latents": 16}).encoder, x)
        with torch.autocast("cpu", torch.bfloat16):
            assert not use(encoder, x)
    with torch.inference_mode():
        assert use(encoder, x)
        value = encoder.blocks[0].attention.value
        encoder.blocks[0].attention.value = type("Wrapped", (torch.nn.Linear,), {})(*value.weight.T.shape, bias=False)
        assert not use(encoder, x)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["dint", "diff"])
def test_combined_attention_equals_the_plain_form(kind, masked):
    attention = Attention(16, 2, kind).double()
    x = torch.randn(3, 7, 16, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]]) if masked else None
    expected = attention(x, mask)
    with torch.no_grad():
        assert kernels.attention.use_combined(x)
        assert not kernels.attention.use_combined(torch.empty(1, 200, 16))
        torch.testing.assert_close(attention(x, mask), expected.detach(), rtol=0, atol=1e-10)


def test_what_a_dominating_key_hides_is_read_without_it():
    """With a large temperature the weights of all other keys are too small for float32 beside that of one."""
    torch.manual_seed(0)
    cross = CrossAttention(8, 2, 200.0).eval()
    x, keys, values = torch.randn(1, 3, 8), torch.randn(1, 6, 8), torch.randn(2, 6, 8)
    part, mask = torch.tensor([4]), torch.ones(2, 6, dtype=torch.bool)
    mask[:, part] = False
    with torch.inference_mode():
        q, k, v = cross.queries(x), cross.keys(keys), cross.values(values)
        k[:] = -q[:, :1] / 200  # opposite to the first query, and one key in its direction
        k[:, 4] = q[:, 0] / 200
        q_1HNe, k_1HMe = (split_heads(each, 2) for each in (q, k))
        assert not in_range(q_1HNe, k_1HMe)
        plain = cross.written(merge_heads(apply_map(attention_map(q_1HNe, k_1HMe, 1.0, mask), v)))
        torch.testing.assert_close(cross.read(q, k, v, mask), plain)
        (without,) = cross.read_without(q, k, v, [part])
        torch.testing.assert_close(without, plain)
        assert plain.abs().sum() > 0


@pytest.mark.parametrize("masked", [False, True])
def test_reading_without_parts_equals_masks(masked):
    """A part with nearly all of the weight, one of no keys, keys of no part, and a window that is left without keys."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 9, 4), torch.randn(3, 2, 9, 6)
    q, k, v = (x.double() for x in (8 * q, k, v))
    parts = [torch.tensor(numbers, dtype=torch.int64) for numbers in ([7, 0], [], [3], [4, 5, 1])]
    k[0, :, 3] = 3 * q[0, :, 0] / q[0, :, 0].norm(dim=-1, keepdim=True)
    assert attention_map(q, k, 1.0)[0, :, 0, 3].min() > 1 - 1e-6
    mask = torch.ones(3, 9, dtype=torch.bool)
    if masked:
        mask[1, [2, 3]], mask[2] = False, torch.arange(9) == 3
    for part, found in zip(parts, without_parts(q, k, v, parts, mask if masked else None), strict=True):
        seen = mask.clone()
        seen[:, part] = False
        torch.testing.assert_close(found, apply_map(attention_map(q, k, 1.0, seen), v), rtol=1e-10, atol=1e-10)
    assert disjoint(parts)
    assert not disjoint([*parts, torch.tensor([8, 4])])


@pytest.mark.parametrize("attention", ["dint", "softmax"])
def test_products_with_the_hessian_agree_with_finite_differences(make_batch, attention):
    """Gradients of gradients, as gradient penalties and influence functions take them, in float64."""
    model = BrainOF.from_preset("debug", backbone={"attention": attention, "layer_scale": 0.5}).double()
    tokens = model.tokens(make_batch())
    visible, hidden = torch.tensor([[0, 3, 5], [1, 2, 8]]), torch.tensor([[1, 2], [0, 3]])
    names = ("encoder.blocks.0.attention.key.weight", "blocks.0.attention.query.weight", "blocks.1.ffn.gate_up_ED2F")
    for name in (*names, "blocks.0.ffn.shared.down.weight", "decoders.0.blocks.0.ffn_norm.weight"):
        weight = dict(model.named_parameters())[name]

        def gradient(weight=weight, create_graph=False):
            predicted = model.decode(model.encode(tokens, visible), tokens.identity_BND.detach(), hidden)
            loss = sum(x.square().mean() for x in predicted.values())
            return torch.autograd.grad(loss, weight, create_graph=create_graph)[0]

        direction = torch.randn_like(weight) / weight.numel() ** 0.5
        (found,) = torch.autograd.grad((gradient(create_graph=True) * direction).sum(), weight)
        both = []
        for sign in (1, -1):
            weight.data += sign * 1e-5 * direction
            both.append(gradient())
            weight.data -= sign * 1e-5 * direction
        expected = (both[0] - both[1]) / 2e-5
        assert (found - expected).norm() < 1e-4 * expected.norm(), name
