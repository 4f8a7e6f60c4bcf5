from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from brainof.channels import Channels
from brainof.errors import ConfigError
from brainof.model import BrainOF
from brainof.model.cost import WindowShape, activation_bytes, step_flops
from brainof.model.presets import count, preset
from brainof.signals import SignalBatch

OUTPUTS = ["waveform", "log_spectrum", "connectivity"]
SHAPE = WindowShape(channels=5, patches=4, visible=8, predicted=12)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": {"attention": "softmax", "ffn": "dense"}, "tokens": {"log_spectrum": False}},
        {"sampler": {"blocks": 2}, "decoder": {"kind": "separate", "blocks": 2}, "backbone": {"attention": "diff"}},
        {
            "sampler": {"latents": 12},
            "tokens": {"connectivity": True},
            "decoder": {"kind": "per_output", "outputs": OUTPUTS},
        },
        {
            "sampler": {"latents": 12, "fixed": ["connectivity"]},
            "tokens": {"connectivity": True},
            "decoder": {"kind": "per_output", "outputs": OUTPUTS},
        },
        {"decoder": {"outputs": ["log_spectrum"]}},
        {"decoder": {"kind": "per_output", "outputs": ["log_spectrum"]}},
    ],
    ids=["debug", "dense", "two blocks", "per output", "fixed", "without waveform", "per output without waveform"],
)
def test_products_are_those_that_torch_counts(changes):
    model = BrainOF.from_preset("debug", **changes).train()
    rng = np.random.default_rng(0)
    channels = Channels([f"c{i}" for i in range(5)], ("eeg",) * 5, positions=rng.uniform(-0.1, 0.1, (5, 3)))
    batch = SignalBatch.from_arrays(list(rng.standard_normal((3, 5, 256))), channels, 256.0, "eeg", patch=64)
    order = torch.rand(3, 20).argsort(1)
    with FlopCounterMode(display=False) as counter:
        tokens = model.tokens(batch)
        outputs = model.decode(model.encode(tokens, order[:, :8]), tokens.identity_BND, order[:, 8:])
        sum(x.square().mean() for x in outputs.values()).backward()
    counted = sum(step_flops(model.config, SHAPE, windows=3).values())
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize(("name", "windows", "gib"), [("base", 2048, 95), ("large", 512, 89)])
def test_memory_is_what_a_gpu_needed(name, windows, gib):
    """Measured on an H200 in bfloat16 (docs/performance.md), 20 channels x 20 patches, half hidden, no DDP."""
    config = preset(name)
    state = 18 * count(config)["total"]  # weights, gradients, two moments; copies of the weights in bfloat16
    found = windows * activation_bytes(config, WindowShape(20, 20, 200, 200)) + state
    assert found / 2**30 == pytest.approx(gib, rel=0.05)


def test_checkpointing_keeps_the_inputs_of_blocks():
    config, shape = preset("base"), WindowShape(20, 20, 200, 200)
    saved = activation_bytes(config, shape) - activation_bytes(config, shape, checkpoint=True)
    deeper = preset("base", backbone={"depth": 13})
    block = activation_bytes(deeper, shape) - activation_bytes(config, shape)
    assert saved == pytest.approx(11 * block - 12 * 128 * 4 * 256)
    assert activation_bytes(config, shape, bfloat16=False) > 1.5 * activation_bytes(config, shape)


def test_the_interpolating_sampler_is_not_counted():
    config = preset("debug", sampler={"kind": "interpolate", "interpolate_channels": 4})
    with pytest.raises(ConfigError, match="only 'arness' is counted"):
        step_flops(config, SHAPE)
