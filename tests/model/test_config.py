"""Configurations that cannot work are refused, and the message names the field; presets are changed part by part."""

from __future__ import annotations

import pytest

from brainof.errors import ConfigError
from brainof.model import BrainOFConfig, preset
from brainof.pretraining import PretrainConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dim": 100}, "^dim: 100 is not a multiple of 8"),
        ({"sampler": {"heads": 3}}, "^sampler: heads 3: dim 128"),
        ({"backbone": {"heads": 3}}, "^backbone: heads 3: dim 128"),
        ({"backbone": {"hidden": 100}}, "^backbone.hidden: 100"),
        ({"backbone": {"shared": 12}}, "^backbone.shared: 12"),
        ({"backbone": {"experts": 4, "top_k": 5}}, "^backbone: top_k 5"),
        ({"backbone": {"depth": 0}}, "^backbone.depth"),
        ({"backbone": {"attention": "linear"}}, "^backbone.attention"),
        ({"patch": 63}, "^patch: 63"),
        ({"decoder": {"outputs": []}}, "^decoder.outputs"),
        ({"decoder": {"outputs": ["waveform", "waveform"]}}, "^decoder.outputs"),
        ({"sampler": {"kind": "interpolate", "interpolate_channels": 7}}, "interpolate_channels 7"),
        ({"sampler": {"kind": "interpolate", "initial_addressing": "tied"}}, "'tied' needs the kind 'arness'"),
        ({"sampler": {"temperature": 0}}, "^sampler.temperature"),
        ({"backbone": {"head": 4}}, "^backbone.head: unknown key.*did you mean 'heads'"),
        (
            {"decoder": {"kind": "per_output"}, "sampler": {"latents": 7}},
            "sampler.latents 7 must be divisible by the 2",
        ),
        ({"decoder": {"kind": "per_output"}, "sampler": {"kind": "interpolate"}}, "needs sampler.kind 'arness'"),
        ({"decoder": {"kind": "per_output"}, "tokens": {"log_spectrum": False}}, "needs tokens.log_spectrum"),
        (
            {"decoder": {"kind": "per_output", "outputs": ["waveform", "connectivity"]}},
            "needs tokens.connectivity",
        ),
    ],
)
def test_wrong_values_are_refused_by_field(values, message):
    with pytest.raises(ConfigError, match=message):
        BrainOFConfig.parse(values)


def test_configuration_survives_a_round_trip():
    config = BrainOFConfig.parse({"backbone": {"layer_scale": 0}, "decoder": {"outputs": ("log_spectrum",)}})
    assert config.sampler == BrainOFConfig().sampler
    assert BrainOFConfig.parse(config.to_dict()) == config


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["model.preset=base"], preset("base")),
        (["model.preset=base", "model.sampler.latents=32"], preset("base", sampler={"latents": 32})),
        (["model={preset: per_output, dim: 32}"], preset("per_output", dim=32)),
        (["model={preset: debug, backbone: {depth: 1}}", "model.backbone.top_k=1"], None),
    ],
)
def test_overrides_of_the_command_line_are_merged_into_their_part(assignments, expected):
    overrides = dict(PretrainConfig().replaced(assignments).model)
    config = preset(overrides.pop("preset"), **overrides)
    if expected is None:
        assert (config.backbone.depth, config.backbone.top_k, config.backbone.hidden) == (1, 1, 16)
    else:
        assert config == expected
    assert preset("base", sampler={"latents": 32}).sampler.heads == preset("base").sampler.heads


def test_a_whole_pooling_is_replaced_not_merged():
    assert preset("per_output", pooling="mean").pooling == {"default": "mean"}


@pytest.mark.parametrize(
    ("overrides", "fix"),
    [
        ({"latents": 32}, "model.latents: unknown key; write sampler.latents"),
        ({"heads": 2}, "model.heads: unknown key; write sampler.heads or backbone.heads"),
        ({"backbon": {}}, "did you mean 'backbone'"),
    ],
)
def test_a_field_outside_its_part_is_refused_with_its_place(overrides, fix):
    with pytest.raises(ConfigError, match=fix):
        preset("debug", **overrides)
