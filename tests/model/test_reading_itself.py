from __future__ import annotations

import pytest
import torch

from brainof.model import backbone
from brainof.model.attention import Attention
from brainof.model.reading_itself import can_read_itself, read_itself


@pytest.mark.parametrize("kind", ["dint", "diff"])
@pytest.mark.parametrize("out_scale", ["none", "one_minus_lambda_init"])
def test_one_combined_map_equals_two(kind, out_scale):
    attention = Attention(32, 2, kind, layer=2, out_scale=out_scale).double()
    torch.nn.init.normal_(attention.norm.weight)
    x = torch.randn(3, 9, 32, dtype=torch.float64)
    expected = attention(x)
    assert not can_read_itself(attention, x)  # gradients are asked for
    with torch.inference_mode():
        assert can_read_itself(attention, x)
        torch.testing.assert_close(read_itself(attention, x), expected, rtol=0, atol=1e-12)


def test_blocks_use_it_where_it_holds(make_batch, debug, monkeypatch):
    used = []
    monkeypatch.setattr(backbone, "read_itself", lambda *args: used.append(None) or read_itself(*args))
    model, batch = debug(), make_batch()
    whole = model.forward_features(batch)
    assert not used
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(batch), whole, rtol=0, atol=1e-12)
    assert len(used) == model.config.depth


@torch.no_grad()
def test_other_attention_goes_the_plain_way():
    long = torch.randn(1, 200, 32)
    x = long[:, :9]
    assert can_read_itself(Attention(32, 2), x)
    assert not can_read_itself(Attention(32, 2), long)  # its maps would not stay in the cache
    assert not can_read_itself(Attention(32, 2, "softmax"), x)
    assert not can_read_itself(Attention(32, 2, temperature=4.0), x)
    assert not can_read_itself(Attention(32, 2, kernel="sdpa"), x)
    assert not can_read_itself(Attention(32, 2).bfloat16(), x.bfloat16())
    hooked = Attention(32, 2)
    hooked.register_forward_hook(lambda *args: None)
    assert not can_read_itself(hooked, x)
