"""Every fast form of attention equals the materialised formula, forward and backward."""

from __future__ import annotations

import math

import pytest
import torch

from brainof.errors import ConfigError
from brainof.model.attention import Attention, combine, differential_attention, lambda_init, softmax_attention


def inputs(queries=7, keys=9, batch=2, heads=3, d=4, e=8):
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64, requires_grad=True)  # noqa: E731
    lam = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    return make(2, batch, heads, queries, d), make(2, batch, heads, keys, d), make(batch, heads, keys, e), lam


def materialised(q, k, v, lam, scale, key_mask, query_mask, integral):
    """A1 - lam A2 + lam G with every matrix written out."""
    logits = q @ k.mT * scale
    if key_mask is not None:
        logits = logits.masked_fill(~key_mask[:, None, None, :], -math.inf)
    a1, a2 = logits.softmax(-1)
    weight = torch.ones(a1.shape[0], a1.shape[2], dtype=a1.dtype) if query_mask is None else query_mask.to(a1.dtype)
    row = (a1 * weight[:, None, :, None]).sum(-2, keepdim=True) / weight.sum(-1)[:, None, None, None]
    a = a1 - lam * a2 + (lam * row.expand_as(a1) if integral else 0)
    return a @ v, a


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("integral", [True, False])
@pytest.mark.parametrize("keys", [7, 9])
def test_equals_the_materialised_form(kernel, masked, integral, keys):
    q, k, v, lam = inputs(keys=keys)
    key_mask = torch.arange(keys) < torch.tensor([[keys], [4]]) if masked else None
    query_mask = torch.arange(7) < torch.tensor([[7], [3]]) if masked else None
    expected, _ = materialised(q, k, v, lam, 0.5, key_mask, query_mask, integral)
    found = differential_attention(q, k, v, lam, 0.5, key_mask, query_mask, integral, kernel)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    probe = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, (q, k, v, lam), probe)
    found_grads = torch.autograd.grad(found, (q, k, v, lam), probe)
    for a, b in zip(found_grads, expected_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    q, k, v, lam = inputs(queries=5, keys=5, batch=1, heads=1, d=2, e=4)
    assert torch.autograd.gradcheck(lambda *x: differential_attention(*x, scale=0.7), (q, k, v, lam))


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
@pytest.mark.parametrize(("d", "e"), [(4, 8), (4, 4)])
@pytest.mark.parametrize(("query_batch", "key_batch"), [(1, 1), (1, 3), (3, 1)])
def test_queries_and_keys_shared_by_the_batch_equal_the_materialised_form(kernel, d, e, query_batch, key_batch):
    """Cross-attention of latents and identities, whose gradients are sums over the windows; forward, grad, no grad."""
    q, k, v, lam = inputs(batch=3, d=d, e=e)
    q, k = (x[:, :n].detach().requires_grad_() for x, n in ((q, query_batch), (k, key_batch)))
    masks = None, None
    if key_batch > 1:
        masks = torch.arange(9) < torch.tensor([[9], [4], [1]]), torch.arange(7) < torch.tensor([[7], [3], [5]])
    full_q, full_k = (x.expand(2, 3, -1, -1, -1) for x in (q, k))
    expected, _ = materialised(full_q, full_k, v, lam, 0.5, *masks, True)
    found = differential_attention(q, k, v, lam, 0.5, *masks, True, kernel)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    probe = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(found, (q, k, v, lam), probe),
        torch.autograd.grad(expected, (q, k, v, lam), probe),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    with torch.no_grad():
        without = differential_attention(q, k, v, lam, 0.5, *masks, True, kernel)
    torch.testing.assert_close(without, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
@pytest.mark.parametrize("temperature", [0.0, 4.0])
def test_gradients_of_the_module_are_those_of_the_materialised_form(kernel, temperature):
    """All inputs and weights, those of lambda included: A1 - lam A2 + lam G written out from the weights."""
    attention = Attention(32, 2, temperature=temperature, kernel=kernel, layer=3).double()
    x = torch.randn(2, 9, 32, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    found = attention(x, mask)
    halves = []
    for linear in (attention.query, attention.key):
        heads = linear(x).unflatten(-1, (2, 2, 8))
        if temperature:
            heads = heads / (heads.square().sum(-1, keepdim=True) + 1e-6).sqrt()
        halves.append(heads.permute(2, 0, 3, 1, 4))
    q, k = halves
    q = q * attention.temperature[:, None, None] if temperature else q / 8**0.5
    first, second = attention.lambda_4d[0] @ attention.lambda_4d[1], attention.lambda_4d[2] @ attention.lambda_4d[3]
    lam = first.exp() - second.exp() + 0.8 - 0.6 * math.exp(-0.9)
    v = attention.value(x).unflatten(-1, (2, 16)).transpose(1, 2)
    o, _ = materialised(q, k, v, lam, 1.0, mask, mask, True)
    o = o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt() * attention.norm.weight
    expected = attention.out(o.transpose(1, 2).flatten(2))
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-12)
    probe = torch.randn_like(x) * mask[..., None]  # rows of masked queries are arbitrary
    leaves = [x, *attention.parameters()]
    for a, b in zip(
        torch.autograd.grad(found, leaves, probe), torch.autograd.grad(expected, leaves, probe), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("broadcast", [False, True])
def test_the_gradient_of_the_combination_agrees_with_finite_differences(broadcast):
    """Also for inputs that are views: transposed, or one window repeated without memory of its own."""
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    make = lambda: torch.randn(1 if broadcast else 2, 5, 2, 3, dtype=torch.float64, requires_grad=True)  # noqa: E731
    view = lambda o: o.transpose(1, 2).expand(2, -1, -1, -1)  # noqa: E731
    lam = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    for query_mask in (None, mask):
        function = lambda o1, o2, lam, m=query_mask: combine(view(o1), view(o2), lam, m)  # noqa: E731
        assert torch.autograd.gradcheck(function, (make(), make(), lam))


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
@pytest.mark.parametrize("masked", [False, True])
def test_rows_of_the_combined_map_sum_to_one(kernel, masked):
    q, k, v, lam = inputs()
    masks = (torch.arange(9) < torch.tensor([[9], [4]]), torch.arange(7) < torch.tensor([[7], [3]])) if masked else ()
    rows = differential_attention(q, k, torch.ones_like(v), lam, 0.5, *masks, kernel=kernel)
    torch.testing.assert_close(rows, torch.ones_like(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
def test_a_row_without_valid_keys_is_zero_with_finite_gradients(kernel):
    q, k, v, _ = inputs()
    key_mask = torch.stack([torch.ones(9), torch.zeros(9)]).bool()
    out = softmax_attention(q[0], k[0], v, 0.5, key_mask, kernel)
    assert (out[1] == 0).all()
    assert (out[0] != 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), (q, k, v)))


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
def test_one_map_for_the_batch_equals_a_map_per_window(kernel):
    q, k, v, _ = inputs(batch=3)
    alike = softmax_attention(q[0, :1], k[0, :1], v, 0.5, None, kernel)
    expected = softmax_attention(
        q[0, :1].expand(3, -1, -1, -1), k[0, :1].expand(3, -1, -1, -1), v, 0.5, None, "explicit"
    )
    torch.testing.assert_close(alike, expected)
    with torch.no_grad():
        torch.testing.assert_close(softmax_attention(q[0, :1], k[0, :1], v, 0.5, None, kernel), expected)


@pytest.mark.parametrize(
    ("layer", "value"), [(0, 0.2), (1, 0.3555), (2, 0.4707), (5, 0.6661), (11, 0.7779), (23, 0.7994), (47, 0.8)]
)
def test_starting_lambda_follows_the_published_table(layer, value):
    assert lambda_init(layer) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize("kind", ["dint", "diff", "softmax"])
@pytest.mark.parametrize("temperature", [0.0, 4.0])
class TestAttention:
    def test_padding_does_not_change_valid_rows(self, kind, temperature):
        attention = Attention(32, 2, kind, temperature=temperature).double()
        x = torch.randn(2, 9, 32, dtype=torch.float64)
        mask = torch.arange(9)[None].expand(2, -1) < 6
        short = attention(x[:, :6])
        torch.testing.assert_close(attention(x, mask)[:, :6], short, rtol=0, atol=1e-12)
        if kind == "dint":  # a mean over all rows would not be invariant: the test can fail
            unmasked_queries = attention.attend(attention.queries(x), attention.keys(x), x, mask)
            assert (unmasked_queries[:, :6] - short).abs().max() > 1e-4

    def test_permuted_tokens_give_permuted_outputs(self, kind, temperature):
        attention = Attention(32, 2, kind, temperature=temperature).double()
        x, order = torch.randn(2, 9, 32, dtype=torch.float64), torch.randperm(9)
        torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])

    def test_maps_are_those_applied_to_the_values(self, kind, temperature):
        attention = Attention(32, 2, kind, temperature=temperature).double()
        x = torch.randn(2, 9, 32, dtype=torch.float64)
        q, k = attention.queries(x), attention.keys(x)
        maps = attention.maps(q, k)
        assert maps.shape == (2, 2, 9, 9)
        o = maps @ attention.value(x).unflatten(-1, (2, -1)).transpose(1, 2)
        if attention.norm is not None:
            o = attention.norm(o)
        torch.testing.assert_close(attention.out(o.transpose(1, 2).flatten(2)), attention(x))
        expected = torch.ones(2, 2, 9, dtype=torch.float64)
        if kind != "diff":
            torch.testing.assert_close(maps.sum(-1), expected)

    def test_bfloat16_stays_close_to_float32(self, kind, temperature):
        attention, x = Attention(64, 4, kind, temperature=temperature), torch.randn(2, 32, 64)
        exact = attention(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = attention(x)
        assert rough.dtype == torch.bfloat16
        assert (rough - exact).norm() / exact.norm() < 2e-2


def test_without_lambda_dint_is_ordinary_attention_of_the_first_half():
    q, k, v, _ = inputs()
    out = differential_attention(q, k, v, torch.zeros((), dtype=torch.float64), 0.5)
    torch.testing.assert_close(out, softmax_attention(q[0], k[0], v, 0.5))


def test_lambda_is_float32_under_autocast():
    attention = Attention(32, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert attention.lam().dtype == torch.float32
    assert attention.bfloat16().lam().dtype == torch.float32


def test_causal_use_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"causal.*later ones"):
        Attention(32, 2)(torch.randn(1, 4, 32), causal=True)


def test_heads_that_do_not_split_the_width_are_refused():
    with pytest.raises(ConfigError, match="heads"):
        Attention(32, 3)
