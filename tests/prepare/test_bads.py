from __future__ import annotations

import numpy as np
import pytest

from brainof.errors import RecordingError
from brainof.prepare.bads import BadChannels, Repair, longest_run


def noise(n_channels: int = 10, n_times: int = 2560) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n_channels, n_times))


def test_short_gaps_are_bridged_before_anything_else(make):
    ramp = np.linspace(0, 1, 2560)[None].repeat(3, axis=0)
    holed = ramp.copy()
    holed[0, 1000], holed[1, 1200:1220] = np.inf, np.nan
    repaired = Repair().apply(make(holed))
    np.testing.assert_allclose(repaired.data, ramp - ramp.mean(axis=1, keepdims=True), atol=1e-6)
    assert repaired.bads == ()
    assert repaired.provenance["steps"][-1]["repaired_samples"] == 21


def test_a_long_gap_makes_the_channel_bad(make):
    holed = noise()
    holed[2, 100:200] = np.nan
    holed[3] = np.nan
    repaired = Repair().apply(make(holed, bads=("c9",)))
    assert repaired.bads == ("c2", "c3", "c9")
    assert not repaired.data[[2, 3]].any()
    assert np.isfinite(repaired.data).all()


def test_small_signals_on_large_offsets_survive_float32(make):
    small = noise(2) * 1e-13
    repaired = Repair().apply(make(small + 1e-6, kind="mag"))
    assert repaired.data.dtype == np.float32
    np.testing.assert_allclose(repaired.data, small - small.mean(axis=1, keepdims=True), atol=1e-20, rtol=1e-3)


def test_input_is_left_alone(make):
    values = noise()
    recording = make(values.copy())
    BadChannels().apply(Repair().apply(recording))
    np.testing.assert_array_equal(recording.data, values)
    assert "steps" not in recording.provenance


def test_flat_and_loud_channels_are_marked(make):
    values = noise()
    values[1] = 0.0
    values[4] *= 1e-3
    values[7] *= 50
    marked = BadChannels().apply(make(values))
    assert marked.bads == ("c1", "c4", "c7")
    assert marked.provenance["steps"][-1] == {"step": "bad_channels", "flat": ["c1", "c4"], "loud": ["c7"]}


def test_types_are_judged_apart(make):
    values = noise(20)
    values[:10] *= 1e-12
    values[10:] *= 1e-10  # gradiometers are two orders larger, which is no fault
    assert BadChannels().apply(make(values, kind=("mag",) * 10 + ("grad",) * 10)).bads == ()


def test_few_channels_are_no_crowd(make):
    values = noise(4)
    values[0] *= 50
    assert BadChannels().apply(make(values)).bads == ()


@pytest.mark.parametrize("values", [np.zeros((4, 512)), np.full((4, 512), np.nan)])
def test_no_usable_channel_is_an_error(make, values):
    with pytest.raises(RecordingError, match=r"toy\.edf: channels: no usable channel is left"):
        BadChannels().apply(Repair().apply(make(values, provenance={"file": "toy.edf"})))


def test_longest_run():
    assert longest_run(np.array([1, 0, 1, 1, 1, 0, 1], bool)) == 3
    assert longest_run(np.zeros(4, bool)) == 0
