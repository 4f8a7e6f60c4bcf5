from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import iqr

from brainof.errors import ConfigError, RecordingError
from brainof.prepare import default_chain
from brainof.prepare.scaling import Normalise, Reference, Volumes


def noise(n_channels: int = 20, n_times: int = 2000) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.standard_normal((n_channels, n_times)) * generator.uniform(0.5, 2, (n_channels, 1)) + 3


def test_one_scale_per_type(make):
    values = noise()
    values[:8] *= 1e-13
    values[8:] *= 1e-11
    recording = make(values, kind=("mag",) * 8 + ("grad",) * 12)
    prepared = Normalise().apply(recording)
    for rows in (slice(0, 8), slice(8, 20)):
        scale = np.median(iqr(values[rows], axis=1)) / 1.349
        expected = (values[rows] - np.median(values[rows], axis=1, keepdims=True)) / scale
        np.testing.assert_allclose(prepared.data[rows], np.clip(expected, -10, 10), atol=1e-4)
    scales = prepared.provenance["steps"][-1]["scale"]
    assert set(scales) == {"mag", "grad"}
    assert scales["grad"] / scales["mag"] == pytest.approx(100, rel=0.5)


def test_regions_have_their_own_scale_with_a_floor(make):
    values = noise(30)
    values[0] *= 0.02  # below the floor of 10 % but alive
    values[1] = 1e4 + 1e-6 * values[1]  # a dead region on a large mean
    prepared = Normalise(per="channel").apply(make(values, 0.5, "roi"))
    assert prepared.bads == ("c1",)
    assert not prepared.data[1].any()
    spread = iqr(prepared.data, axis=1) / 1.349
    np.testing.assert_allclose(spread[2:], 1, rtol=1e-4)
    assert 0.05 < spread[0] < 0.6


def test_bad_channels_become_zero_and_do_not_count(make):
    values = noise()
    values[5] *= 1e6
    without = Normalise().apply(make(np.delete(values, 5, axis=0)))
    prepared = Normalise().apply(make(values, bads=("c5",)))
    assert not prepared.data[5].any()
    np.testing.assert_array_equal(np.delete(prepared.data, 5, axis=0), without.data)


def test_clip(make):
    values = noise()
    values[0, 10] = 1e9
    prepared = Normalise(clip=6).apply(make(values))
    alone = (np.abs(Normalise(clip=100).apply(make(values)).data) > 6).mean()
    assert prepared.data.max() == 6
    assert prepared.data.dtype == np.float32
    assert prepared.provenance["steps"][-1]["clipped"] == pytest.approx(alone)


def test_mostly_constant_channels(make):
    values = noise()
    values[:15] = 0.0
    prepared = Normalise().apply(make(values))
    assert len(prepared.bads) == 15
    assert 0.3 < np.median(np.abs(prepared.data[15:])) < 1.5


def test_nothing_alive_is_an_error(make):
    with pytest.raises(RecordingError, match="no usable channel"):
        Normalise().apply(make(np.ones((3, 100))))


def test_average_reference_leaves_bad_channels_out(make):
    values = noise()
    values[3] *= 1e6
    prepared = Reference().apply(make(values, bads=("c3",)))
    good = np.delete(values, 3, axis=0)
    np.testing.assert_allclose(np.delete(prepared.data, 3, axis=0), good - good.mean(axis=0), atol=1e-9)


@pytest.mark.parametrize(
    ("n_channels", "kind", "reference"), [(4, "eeg", "average"), (20, "mag", "average"), (20, "eeg", "none")]
)
def test_reference_left_as_recorded(make, n_channels, kind, reference):
    recording = make(noise(n_channels), kind=kind)
    np.testing.assert_array_equal(Reference(kind=reference).apply(recording).data, recording.data)


def test_each_volume_is_standardised_over_good_regions(make):
    values = noise(12, 50) + np.linspace(0, 9, 50)
    values[:, 7] = 4.0  # a volume without a pattern
    prepared = Volumes().apply(make(values, 0.5, "roi", bads=("c3",)))
    good = np.delete(values, 3, axis=0)
    expected = (good - good.mean(0)) / np.where(np.arange(50) == 7, np.inf, good.std(0))
    np.testing.assert_allclose(np.delete(prepared.data, 3, axis=0), expected, atol=1e-5)
    assert not prepared.data[3].any()
    steps = [step["step"] for step in default_chain("fmri", {"volumes": True}).to_steps()]
    assert steps == ["repair", "detrend", "normalise", "volumes"]
    with pytest.raises(ConfigError, match="is made for fmri, not eeg"):
        default_chain("eeg", {"volumes": True})
