"""Sizes: the closed form equals the modules, and both equal the published sizes within two per cent."""

from __future__ import annotations

import pytest
import torch

from brainof.errors import ConfigError
from brainof.model import PRESETS, BrainOF, count, describe, preset
from brainof.model.experts import Experts
from brainof.model.presets import PUBLISHED


def parameters(config) -> tuple[int, int]:
    """Total and active parameters of the modules themselves, on the meta device."""
    with torch.device("meta"):
        model = BrainOF(config)
    total = sum(p.numel() for p in model.parameters())
    idle = 0
    for layer in model.modules():
        if isinstance(layer, Experts):
            experts = len(layer.gate_up_ED2F)
            idle += (experts - layer.top_k) * (layer.gate_up_ED2F.numel() + layer.down_EFD.numel()) // experts
    return total, total - idle


@pytest.mark.parametrize("name", PRESETS)
def test_closed_form_equals_the_modules(name):
    counts = count(preset(name))
    assert (counts["total"], counts["active"]) == parameters(preset(name))
    parts = set(counts) - {"total", "active", "encoder"}
    assert sum(counts[part] for part in parts) == counts["total"]


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"attention": "softmax", "ffn": "dense", "layer_scale": 0}},
        {"decoder": {"kind": "separate", "blocks": 3}, "tokens": {"log_spectrum": False}, "sampler": {"blocks": 2}},
        {
            "sampler": {"kind": "interpolate", "latents": 32},
            "backbone": {"shared": 0},
            "decoder": {"outputs": ["waveform"]},
        },
    ],
)
def test_closed_form_follows_every_option(changes):
    config = preset("debug", **changes)
    counts = count(config)
    assert (counts["total"], counts["active"]) == parameters(config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_met_within_two_per_cent(name):
    counts = count(preset(name))
    total, active = PUBLISHED[name]
    assert counts["total"] == pytest.approx(total, rel=0.02)
    assert counts["active"] == pytest.approx(active, rel=0.02)


def test_description_holds_counts_and_published_ones():
    described = describe("base")
    assert described["parameters"]["total"] == count(preset("base"))["total"]
    assert described["published"]["total"] == 47_500_000
    assert "all parts but the routed experts" in described["active_includes"]
    without_decoder = described["parameters"]["active"] - described["parameters"]["decoder"]
    assert f"without the decoder {without_decoder:,}" in described["active_includes"]
    assert "published" not in describe("tiny")


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'large'"):
        preset("larg")
