"""Deep models start finite and alive, in float32 and bfloat16, whatever the preset."""

from __future__ import annotations

import pytest
import torch

from brainof.model import PRESETS, BrainOF, preset
from brainof.model.backbone import BackboneConfig, Block


def start(model, batch, autocast=False):
    """Latents and gradients of one pass through everything."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        tokens = model.tokens(batch)
        latents = model.encode(tokens)
        loss = sum(x.square().mean() for x in model.decode(latents, tokens.identity_BND).values())
    loss.backward()
    assert latents.isfinite().all()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    broken = [n for n, p in trained if p.grad is None or not p.grad.isfinite().all()]
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


@pytest.mark.parametrize(("depth", "gain"), [(2, 1.0), (16, 0.5), (64, 0.25)])
@pytest.mark.parametrize(
    ("ffn", "written"), [("moe", {"ffn.down_EFD", "ffn.shared.down.weight"}), ("dense", {"ffn.down.weight"})]
)
def test_what_branches_write_starts_smaller_in_deep_models(depth, gain, ffn, written):
    """By sqrt(4 / depth) beside depth 4, so that the variance of the sum of all branches is the same; nothing else."""

    def weights(depth):
        torch.manual_seed(0)
        block = Block(16, BackboneConfig(depth=depth, heads=2, ffn=ffn, experts=4, hidden=8, shared=8), layer=1)
        return dict(block.named_parameters())

    found, full = weights(depth), weights(4)
    for name in full:
        factor = gain if name in written | {"attention.out.weight"} else 1.0
        torch.testing.assert_close(found[name], full[name] * factor, msg=name)
    assert full["attention.out.weight"].std() > 0
