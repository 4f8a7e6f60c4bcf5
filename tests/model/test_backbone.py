"""Deep models start finite and alive, in float32 and bfloat16, whatever the preset."""

from __future__ import annotations

import pytest
import torch

from brainof.model import PRESETS, BrainOF, preset


def start(model, batch, autocast=False):
    """Latents and gradients of one pass through everything."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        tokens = model.tokens(batch)
        latents = model.encode(tokens)
        loss = sum(x.square().mean() for x in model.decode(latents, tokens.identity_BND).values())
    loss.backward()
    assert latents.isfinite().all()
    broken = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert broken == []
    return latents


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
def test_forty_eight_layers_start_finite_with_living_gradients(make_batch, precision):
    model = BrainOF.from_preset("debug", backbone={"depth": 48})
    if precision == "bfloat16":
        model.bfloat16()
    start(model, make_batch(), precision == "autocast")
    norms = torch.stack([block.attention.query.weight.grad.float().norm() for block in model.blocks])
    assert (norms > 0).all()
    assert norms.max() / norms.min() < 1e3


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "debug"])
def test_every_preset_starts_finite_from_the_meta_device_in_bfloat16(make_batch, name):
    """Depth, experts and blocks of the sampler as published, on a small width."""
    with torch.device("meta"):
        small = {"sampler": {"heads": 2, "latents": 12}, "backbone": {"heads": 2, "hidden": 8, "shared": 8}}
        model = BrainOF(preset(name, dim=32, **small))
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(torch.nan if tensor.is_floating_point() else 99)  # whatever the memory held
    model.init_weights()
    assert all((block.ffn.load_ME == 0).all() for block in model.blocks)
    start(model, make_batch(channels=3, patches=2), autocast=True)
