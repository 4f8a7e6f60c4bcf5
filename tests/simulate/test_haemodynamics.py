from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from brainof.simulate.activity import PERCENT, bold, canonical_response, label_volume, paint
from brainof.simulate.regions import make_regions
from brainof.simulate.timeline import SLOW_RATE


def test_response_is_the_canonical_double_gamma():
    """Second method: t^5 e^-t / 5! - t^15 e^-t / (6 * 15!), written out."""
    times = np.arange(0, 32, 0.1)
    expected = times**5 * np.exp(-times) / factorial(5) - times**15 * np.exp(-times) / factorial(15) / 6
    found = canonical_response(10)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-12)
    assert times[found.argmax()] == pytest.approx(5, abs=0.2)
    assert times[found.argmin()] == pytest.approx(15.5, abs=1)
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("t_r", [0.25, 0.72, 2.0])
def test_bold_is_a_convolution_at_the_middle_of_each_volume(t_r):
    """Second method: a direct sum in float64."""
    activity = np.random.default_rng(0).standard_normal((3, 100 * SLOW_RATE))
    found = bold(activity.astype(np.float32), t_r, int(90 / t_r))
    response = canonical_response(SLOW_RATE)
    held = np.concatenate([np.repeat(activity[:, :1], len(response), axis=1), activity], axis=1)
    direct = np.stack([np.convolve(row, response)[len(response) : held.shape[1]] for row in held])
    times = (np.arange(found.shape[1]) + 0.5) * t_r
    expected = [np.interp(times, np.arange(direct.shape[1]) / SLOW_RATE, row) for row in direct]
    np.testing.assert_allclose(found, PERCENT * np.array(expected), atol=2e-6)


def test_steady_activity_gives_a_steady_signal():
    found = bold(np.ones((2, 60 * SLOW_RATE), np.float32), 1.0, 60)
    np.testing.assert_allclose(found, PERCENT, rtol=1e-4)


def test_painted_image_gives_the_table_back():
    regions = make_regions(40)
    labels, affine = label_volume(regions.mni)
    assert set(np.unique(labels)) == set(range(41))
    table = np.random.default_rng(1).standard_normal((40, 5)).astype(np.float32)
    image = paint(table, labels, np.random.default_rng(2))
    means = np.array([image[labels == label].mean(axis=0) for label in range(1, 41)])
    np.testing.assert_allclose(means, table, atol=1e-5)
    assert (image[labels == 0] == 0).all()
    # labels lie where the regions are
    voxels = np.argwhere(labels == 7)
    centre = affine[:3, :3] @ voxels.mean(axis=0) + affine[:3, 3]
    assert np.linalg.norm(centre / 1000 - regions.mni[6]) < 0.012
