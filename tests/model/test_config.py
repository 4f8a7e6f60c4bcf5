"""Configurations that cannot work are refused, and the message names the field."""

from __future__ import annotations

import pytest

from brainof.errors import ConfigError
from brainof.model import BrainOFConfig


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"dim": 100}, "dim"),
        ({"dim": 128, "heads": 3}, "heads"),
        ({"hidden": 100}, "hidden"),
        ({"shared": 12}, "shared"),
        ({"experts": 4, "top_k": 5}, "top_k"),
        ({"patch": 63}, "patch"),
        ({"outputs": []}, "outputs"),
        ({"outputs": ["waveform", "waveform"]}, "outputs"),
        ({"sampler": "interpolate", "latents": 64, "interpolate_channels": 7}, "interpolate_channels"),
        ({"depth": 0}, "depth"),
        ({"attention": "linear"}, "attention"),
        ({"head": 4}, "did you mean 'heads'"),
    ],
)
def test_wrong_values_are_refused_by_field(values, field):
    with pytest.raises(ConfigError, match=field):
        BrainOFConfig.parse(values)


def test_configuration_survives_a_round_trip():
    config = BrainOFConfig(layer_scale=0, temperature=0, outputs=("log_spectrum",), keys="both")
    assert BrainOFConfig.parse(config.to_dict()) == config
