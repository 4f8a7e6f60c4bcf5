"""The norm and the gate equal their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from brainof.model.layers import RMSNorm, SwiGLU, swiglu, unit


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 4, 8)])
def test_rms_norm_equals_the_formula(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    norm = RMSNorm(8).double()
    weight = torch.nn.init.normal_(norm.weight)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight
    found = norm(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    probe = torch.randn_like(x)
    for a, b in zip(
        torch.autograd.grad(found, (x, weight), probe), torch.autograd.grad(expected, (x, weight), probe), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), expected)


def test_rms_norm_keeps_the_dtype_of_its_input():
    norm = RMSNorm(8)
    assert norm(torch.randn(3, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_swiglu_equals_the_formula():
    x = torch.randn(4, 3, 10, dtype=torch.float64, requires_grad=True)
    gate, up = x.chunk(2, -1)
    expected, probe = F.silu(gate) * up, torch.randn(4, 3, 5, dtype=torch.float64)
    found = swiglu(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, x, probe)[0], torch.autograd.grad(expected, x, probe)[0])
    with torch.no_grad():
        torch.testing.assert_close(swiglu(x), expected)


def test_residual_gain_scales_the_output_map_only():
    torch.manual_seed(1)
    full = SwiGLU(64, 256)
    torch.manual_seed(1)
    half = SwiGLU(64, 256, residual_gain=0.5)
    torch.testing.assert_close(half.down.weight, full.down.weight * 0.5)
    torch.testing.assert_close(half.gate_up.weight, full.gate_up.weight)


def test_unit_vectors_have_length_one_and_zero_stays_zero():
    x = torch.randn(5, 16)
    x[0] = 0
    length = unit(x).norm(dim=-1)
    torch.testing.assert_close(length[1:], torch.ones(4))
    assert length[0] == 0
