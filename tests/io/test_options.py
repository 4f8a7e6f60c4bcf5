from __future__ import annotations

import pytest

from brainof.errors import ConfigError
from brainof.io import ReadOptions


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"unit": "uV"}, "units"),
        ({"t_r": 2000}, "t_r"),
        ({"t_r": 0}, "t_r"),
        ({"sfreq": 2.0, "t_r": 2.0}, "contradict"),
        ({"atlas": {"grid_mm": 8, "image": "a.nii"}}, "not both"),
        ({"atlas": {"grid": 8}}, "grid_mm"),
        ({"channel_types": {"E*": "eegg"}}, "channel_types"),
    ],
)
def test_wrong_options_name_the_key(values, word):
    with pytest.raises(ConfigError, match=word):
        ReadOptions.parse(values, "recipe.yaml")


def test_plain_values_survive_a_round_trip():
    options = ReadOptions.parse(
        {"units": {"E*": "uV"}, "rename": {"^EEG ": ""}, "atlas": {"grid_mm": 24}, "confounds": "moest.txt", "t_r": 2}
    )
    assert ReadOptions.parse(options.to_dict()) == options
    assert options.confounds.file == "moest.txt"
    assert options.rate == 0.5
