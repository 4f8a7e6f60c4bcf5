from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.io.nifti import brain_mask, cube_labels


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 7)] * 3), zoom=st.floats(1, 5), edge=st.floats(1, 20), seed=st.integers(0, 100))
def test_cubes_partition_the_mask_and_do_not_depend_on_it(shape, zoom, edge, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.7
    labels = cube_labels(mask, (zoom,) * 3, edge, 0.0)
    full = cube_labels(np.ones(shape, bool), (zoom,) * 3, edge, 0.0)
    assert ((labels > 0) == mask).all()
    assert (labels[mask] == full[mask]).all()
    side = max(1, round(edge / zoom))
    for label in np.unique(full):
        spans = [np.ptp(axis) + 1 for axis in np.nonzero(full == label)]
        assert max(spans) <= side
        assert (full == label).sum() == np.prod(spans)


def test_voxel_size_gives_one_region_per_voxel():
    mask = np.zeros((6, 5, 1), bool)
    mask[1:4, 2:] = True
    labels = cube_labels(mask, (3.1, 3.75, 3.75), 3.75, 0.5)
    assert len(np.unique(labels[mask])) == mask.sum()


def test_cubes_with_little_brain_are_left_out():
    mask = np.zeros((4, 2, 2), bool)
    mask[:2] = True
    mask[2, 0, 0] = True
    assert np.unique(cube_labels(mask, (1, 1, 1), 2, 0.5)).tolist() == [0, 1]


def test_brain_mask_keeps_the_bright_part():
    image = np.zeros((10, 10, 1))
    image[3:7, 3:7] = 1000
    image[0, 0] = np.nan
    np.testing.assert_array_equal(brain_mask(image), image > 0)
    assert not brain_mask(np.zeros((3, 3, 3))).any()


@pytest.mark.parametrize("zoom", [1e-40, 0.0, float("nan"), 2.0])
def test_an_axis_shorter_than_the_edge_is_one_cube_whatever_its_voxels_are(zoom):
    labels = cube_labels(np.ones((4, 4, 3), bool), (3.0, 3.0, zoom), 6.0, 0.5)
    assert np.unique(labels).tolist() == [1, 2, 3, 4]
    assert labels[:, :, 0].tolist() == labels[:, :, 2].tolist()
