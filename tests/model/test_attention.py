"""DINT attention equals the materialised formula, forward and backward, and so does the fused kernel, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from brainof.model import attention as module
from brainof.model.attention import (
    Attention,
    CrossAttention,
    attend,
    combine,
    contrast,
    lambda_init,
    merge_heads,
    split_heads,
)
from brainof.model.kernels.attention import use_fused


@pytest.fixture(params=[False, True], ids=["explicit", "fused"])
def fused(request, monkeypatch):
    """Both forms, whatever the shapes."""
    monkeypatch.setattr(module, "use_fused", lambda *_: request.param)
    return request.param


def inputs(queries=7, keys=9, batch=2, heads=3, d=4, e=8):
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64, requires_grad=True)  # noqa: E731
    lam = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    return make(2, batch, heads, queries, d), make(2, batch, heads, keys, d), make(batch, heads, keys, e), lam


def materialised(q, k, v, lam, scale, key_mask, query_mask, integral=True):
    """A1 - lam A2 + lam G with every matrix written out."""
    logits = q @ k.mT * scale
    if key_mask is not None:
        logits = logits.masked_fill(~key_mask[:, None, None, :], -math.inf)
    a1, a2 = logits.softmax(-1)
    weight = torch.ones(a1.shape[0], a1.shape[2], dtype=a1.dtype) if query_mask is None else query_mask.to(a1.dtype)
    row = (a1 * weight[:, None, :, None]).sum(-2, keepdim=True) / weight.sum(-1)[:, None, None, None]
    return (a1 - lam * a2 + (lam * row.expand_as(a1) if integral else 0)) @ v


def found_of(q, k, v, lam, scale, key_mask=None, query_mask=None, integral=True):
    one, two = (attend(a, b, v, scale, key_mask) for a, b in zip(q, k, strict=True))
    return combine("dint" if integral else "diff", one, two, lam, query_mask)


def require_equal(found, expected, leaves):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    probe = torch.randn_like(expected)
    pairs = zip(torch.autograd.grad(found, leaves, probe), torch.autograd.grad(expected, leaves, probe), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("integral", [True, False])
@pytest.mark.parametrize("keys", [7, 9])
def test_equals_the_materialised_form(fused, masked, integral, keys):
    q, k, v, lam = inputs(keys=keys)
    key_mask = torch.arange(keys) < torch.tensor([[keys], [4]]) if masked else None
    query_mask = torch.arange(7) < torch.tensor([[7], [3]]) if masked else None
    arguments = (q, k, v, lam, 0.5, key_mask, query_mask, integral)
    require_equal(found_of(*arguments), materialised(*arguments), (q, k, v, lam))


@pytest.mark.parametrize(("d", "e"), [(4, 8), (4, 4)])
@pytest.mark.parametrize(("query_batch", "key_batch"), [(1, 1), (1, 3), (3, 1)])
def test_queries_and_keys_shared_by_the_batch_equal_the_materialised_form(fused, d, e, query_batch, key_batch):
    """Cross-attention of latents and identities, whose gradients are sums over the windows."""
    q, k, v, lam = inputs(batch=3, d=d, e=e)
    q, k = (x[:, :n].detach().requires_grad_() for x, n in ((q, query_batch), (k, key_batch)))
    mask = torch.arange(9) < torch.tensor([[9], [4], [1]]) if key_batch > 1 else None
    full_q, full_k = (x.expand(2, 3, -1, -1, -1) for x in (q, k))
    expected = materialised(full_q, full_k, v, lam, 0.5, mask, None)
    require_equal(found_of(q, k, v, lam, 0.5, mask), expected, (q, k, v, lam))


def test_gradients_agree_with_finite_differences(fused):
    q, k, v, lam = inputs(queries=5, keys=5, batch=1, heads=1, d=2, e=4)
    assert torch.autograd.gradcheck(lambda *x: found_of(*x, scale=0.7), (q, k, v, lam))


def test_gradients_of_the_module_are_those_of_the_materialised_form(fused):
    """All inputs and weights, those of lambda included: A1 - lam A2 + lam G written out from the weights."""
    attention = Attention(32, 2, layer=3).double()
    x = torch.randn(2, 9, 32, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    q, k = (linear(x).unflatten(-1, (2, 2, 8)).permute(2, 0, 3, 1, 4) for linear in (attention.query, attention.key))
    first, second = attention.lambda_4d[0] @ attention.lambda_4d[1], attention.lambda_4d[2] @ attention.lambda_4d[3]
    lam = first.exp() - second.exp() + 0.8 - 0.6 * math.exp(-0.9)
    o = materialised(q, k, split_heads(attention.value(x), 2), lam, 8**-0.5, mask, mask)
    o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * attention.norm.weight
    valid = mask[..., None]  # rows of masked queries are arbitrary
    require_equal(attention(x, mask) * valid, attention.out(merge_heads(o)) * valid, [x, *attention.parameters()])


def test_gradients_of_cross_attention_are_those_of_its_formula(fused):
    attention = CrossAttention(32, 2, 4.0).double()
    nn_q, nn_s = (torch.randn(2, n, 32, dtype=torch.float64, requires_grad=True) for n in (5, 9))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    unit = lambda x: x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()  # noqa: E731
    q, k = unit(split_heads(attention.query(nn_q), 2)), unit(split_heads(attention.key(nn_s), 2))
    logits = (attention.temperature[:, None, None] * q @ k.mT).masked_fill(~mask[:, None, None], -math.inf)
    expected = attention.out(merge_heads(logits.softmax(-1) @ split_heads(attention.value(nn_s), 2)))
    found = attention(attention.queries(nn_q), attention.keys(nn_s), nn_s, mask)
    require_equal(found, expected, [nn_q, nn_s, *attention.parameters()])
    maps = attention.maps(attention.queries(nn_q), attention.keys(nn_s), mask)
    torch.testing.assert_close(maps, logits.softmax(-1))


@pytest.mark.parametrize("masked", [False, True])
def test_rows_of_the_combined_map_sum_to_one(fused, masked):
    q, k, v, lam = inputs()
    masks = (torch.arange(9) < torch.tensor([[9], [4]]), torch.arange(7) < torch.tensor([[7], [3]])) if masked else ()
    rows = found_of(q, k, torch.ones_like(v), lam, 0.5, *masks)
    torch.testing.assert_close(rows, torch.ones_like(rows), rtol=0, atol=1e-12)


def test_a_row_without_valid_keys_is_zero_with_finite_gradients(fused):
    q, k, v, _ = inputs()
    key_mask = torch.stack([torch.ones(9), torch.zeros(9)]).bool()
    out = attend(q[0], k[0], v, 0.5, key_mask)
    assert (out[1] == 0).all()
    assert (out[0] != 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), (q, k, v)))


def test_the_fused_form_is_used_for_long_sequences_only():
    make = lambda n, dtype=torch.float32, batch=2: torch.empty(batch, 1, n, 8, dtype=dtype)  # noqa: E731
    assert not use_fused(make(128), make(128), make(128))
    assert use_fused(make(512), make(512), make(512))
    assert not use_fused(*[make(512, torch.bfloat16)] * 3)
    assert not use_fused(make(512, batch=1), make(512, batch=1), make(512))  # one map for the batch


@pytest.mark.parametrize(
    ("layer", "value"), [(0, 0.2), (1, 0.3555), (2, 0.4707), (5, 0.6661), (11, 0.7779), (23, 0.7994), (47, 0.8)]
)
def test_starting_lambda_follows_the_published_table(layer, value):
    assert lambda_init(layer) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize("kind", ["dint", "diff", "softmax"])
class TestAttention:
    def test_padding_does_not_change_valid_rows(self, kind, fused):
        attention = Attention(32, 2, kind).double()
        x = torch.randn(2, 9, 32, dtype=torch.float64)
        mask = torch.arange(9)[None].expand(2, -1) < 6
        torch.testing.assert_close(attention(x, mask)[:, :6], attention(x[:, :6]), rtol=0, atol=1e-12)
        assert (attention(x)[:, :6] - attention(x[:, :6])).abs().max() > 1e-4  # the mask is what does it

    def test_permuted_tokens_give_permuted_outputs(self, kind, fused):
        attention = Attention(32, 2, kind).double()
        x, order = torch.randn(2, 9, 32, dtype=torch.float64), torch.randperm(9)
        torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])

    def test_maps_are_those_applied_to_the_values(self, kind, fused):
        attention = Attention(32, 2, kind).double()
        x = torch.randn(2, 9, 32, dtype=torch.float64)
        mask = torch.arange(9)[None].expand(2, -1) < torch.tensor([[9], [6]])
        maps = attention.maps(x, mask)
        assert maps.shape == (2, 2, 9, 9)
        o = maps @ split_heads(attention.value(x), 2)
        o = o if attention.norm is None else attention.norm(o)
        torch.testing.assert_close(attention.out(merge_heads(o)), attention(x, mask))
        if kind != "diff":
            torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 9, dtype=torch.float64))

    def test_bfloat16_stays_close_to_float32(self, kind, fused):
        attention, x = Attention(64, 4, kind), torch.randn(2, 32, 64)
        exact = attention(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = attention(x)
        assert rough.dtype == torch.bfloat16
        assert (rough - exact).norm() / exact.norm() < 2e-2


def test_without_lambda_dint_is_ordinary_attention_of_the_first_half(fused):
    q, k, v, _ = inputs()
    out = found_of(q, k, v, torch.zeros((), dtype=torch.float64), 0.5)
    torch.testing.assert_close(out, attend(q[0], k[0], v, 0.5))


def test_lambda_is_float32_under_autocast():
    attention = Attention(32, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert attention.lam().dtype == torch.float32
    assert attention.bfloat16().lam().dtype == torch.float32


def test_the_first_query_keeps_what_all_read_alike():
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    found = contrast(x + 100)
    torch.testing.assert_close(found[:, 0], x.mean(1) + 100)
    torch.testing.assert_close(found[:, 1:], (x - x.mean(1, keepdim=True))[:, 1:])


def test_cross_attention_with_contrast_equals_the_formula():
    torch.manual_seed(0)
    plain, module = (CrossAttention(16, 2, 4.0, contrast=there).double() for there in (False, True))
    module.load_state_dict(plain.state_dict())
    queries, source = torch.randn(1, 5, 16, dtype=torch.float64), torch.randn(2, 7, 16, dtype=torch.float64)
    arguments = module.queries(queries), module.keys(source), source
    map_BHNM = plain.maps(*arguments[:2])
    mean = map_BHNM.mean(2, keepdim=True)
    signed = torch.cat([mean, map_BHNM[:, :, 1:] - mean], 2)
    expected = module.out(merge_heads(signed @ split_heads(module.value(source), 2)))
    torch.testing.assert_close(module(*arguments), expected)
