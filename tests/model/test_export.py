"""Compiled blocks and the exported encoder equal the eager model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brainof.model import BrainOF, export


def test_exported_encoder_takes_other_shapes(make_batch):
    model = BrainOF.from_preset("debug", depth=1).eval()
    program = export.export_encoder(model).module()
    batch = make_batch(windows=2, channels=6, patches=3)
    sensors = batch.sensors
    found = program(
        batch.signal_BCT,
        sensors.position_BC3.expand(2, -1, -1).clone(),
        sensors.located_BC.expand(2, -1).clone(),
        sensors.orientation_BC3.expand(2, -1, -1).clone(),
        sensors.type_BC.expand(2, -1).clone(),
        sensors.order_BC.expand(2, -1).clone(),
        batch.channel_mask_BC,
        batch.interval_B,
        batch.modality_B,
    )
    with torch.no_grad():
        torch.testing.assert_close(found, model.forward_features(batch), rtol=1e-4, atol=1e-5)
    assert model.blocks[0].ffn.backend == "auto"  # the model itself is left as it was


@pytest.mark.filterwarnings("ignore")
def test_blocks_compile_in_bfloat16_without_breaks():
    block = BrainOF.from_preset("debug", depth=1).blocks[0]
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    x, modality = torch.randn(2, 8, 32), torch.tensor([0, 2])
    results = []
    for form in (block, compiled):
        block.zero_grad()
        nn.init.zeros_(block.ffn.load_ME)
        with torch.autocast("cpu", torch.bfloat16):
            y = form(x, modality)
        y.square().mean().backward()
        results.append((y.detach(), block.ffn.gate_up_ED2F.grad.clone(), block.ffn.load_ME.clone()))
    for eager, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, eager, rtol=2e-2, atol=2e-2)
    assert results[1][2].sum(1).tolist() == [16, 0, 16]
