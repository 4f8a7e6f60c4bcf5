from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.errors import RecordingError
from brainof.pretraining.masks import hide_patches, regions, remove_components, slices, token_indices


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(2, 7), st.integers(2, 6)),
    ratio=st.floats(0.05, 0.95),
    unit=st.sampled_from(["patch", "segment", "channel", "mixed"]),
    seed=st.integers(0, 2**20),
)
def test_hidden_patches_are_valid_and_neither_all_nor_none(shape, ratio, unit, seed):
    rng = np.random.default_rng(seed)
    valid = np.ones(shape, bool)
    valid[:, 0] = rng.random() < 0.5  # a bad channel, in some examples
    if shape[1] == 2 and unit == "channel":
        valid[:, 0] = True
    hidden = hide_patches(valid, ratio, unit, rng)
    assert not (hidden & ~valid).any()
    count = hidden.reshape(shape[0], -1).sum(1)
    assert (count >= 1).all()
    assert (count < valid.reshape(shape[0], -1).sum(1)).all()


def test_ratio_and_units():
    rng = np.random.default_rng(0)
    valid = np.ones((3, 10, 8), bool)
    assert (hide_patches(valid, 0.5, "patch", rng).reshape(3, -1).sum(1) == 40).all()
    segments = hide_patches(valid, 0.25, "segment", rng)
    assert (segments == segments[:, :1]).all()
    assert (segments[:, 0].sum(1) == 2).all()
    channels = hide_patches(valid, 0.3, "channel", rng)
    assert (channels == channels[:, :, :1]).all()
    assert (channels[:, :, 0].sum(1) == 3).all()


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(2, 7), st.integers(2, 6)),
    ratio=st.floats(0.05, 0.95),
    unit=st.sampled_from(["patch", "segment", "channel"]),
    seed=st.integers(0, 2**20),
)
def test_masks_equal_those_written_out_window_by_window(shape, ratio, unit, seed):
    """Second method: the units of a window sorted by their numbers, the first of them hidden."""
    valid = np.random.default_rng(seed).random(shape) < 0.9
    valid[:, :2, :2] = True
    hidden = hide_patches(valid, ratio, unit, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    rng.random((shape[0], 1))
    draws = rng.random((shape[0], shape[2], shape[1])).transpose(0, 2, 1)
    for row in range(shape[0]):
        numbers = {"patch": draws[row], "segment": draws[row][:1], "channel": draws[row][:, :1]}[unit]
        numbers = np.broadcast_to(numbers, shape[1:])
        units = sorted(set(numbers[valid[row]]))
        count = min(max(1, round(ratio * len(units))), len(units) - 1)
        assert (hidden[row] == (valid[row] & np.isin(numbers, units[:count]))).all()


def test_blocks_are_neighbourhoods_by_stretches():
    place = np.arange(12.0)[None, :, None]
    region = regions(place, np.ones((2, 12), bool), 3, np.random.default_rng(0))
    hidden = hide_patches(np.ones((2, 12, 10), bool), 0.5, "block", np.random.default_rng(0), region, block_patches=4)
    assert hidden.mean() == pytest.approx(0.5, abs=0.15)
    for row in range(2):
        for centre in np.unique(region[row]):
            own = hidden[row, region[row] == centre]
            assert (own == own[:1]).all()  # whole neighbourhoods
            assert (own[0, :4] == own[0, 0]).all()
            assert (own[0, 4:8] == own[0, 4]).all()
            assert own[0, 8] == own[0, 9]
        assert not (hidden[row] == hidden[row][:, :1]).all()  # not through the whole window, as "region"


def test_slices_follow_each_other_in_the_atlas():
    place = np.stack([np.random.default_rng(1).permutation(20) for _ in range(3)])
    found = slices(place, 6, np.random.default_rng(0))
    cuts = set()
    for row in range(3):
        ordered = found[row][place[row].argsort()]
        changes = np.flatnonzero(np.diff(ordered)) + 1
        assert len(np.unique(found[row])) == len(changes) + 1  # each slice is one run of ranks
        assert (np.diff(changes) == 6).all()
        assert (found[row][np.unique(found[row])] == np.unique(found[row])).all()  # named by one of its channels
        cuts.add(int(changes[0]))
    assert len(cuts) > 1
    hidden = hide_patches(np.ones((3, 20, 4), bool), 0.5, "slice", np.random.default_rng(0), found)
    assert (hidden == hidden[..., :1]).all()


def test_a_window_with_one_patch_cannot_be_masked():
    with pytest.raises(RecordingError, match="window 0 has fewer than two patches"):
        hide_patches(np.ones((1, 1, 1), bool), 0.5, "patch", np.random.default_rng(0))


def test_token_indices_fill_short_rows():
    visible = np.array([[True, False, True, True], [False, False, True, False]])
    index, mask = token_indices(visible)
    assert index.tolist() == [[0, 2, 3], [2, 2, 2]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("axis", [1, 2])
def test_removed_components_are_gone_and_the_rest_untouched(axis):
    signal = np.random.default_rng(0).standard_normal((2, 40, 64))
    changed = remove_components(signal, axis=axis, ratio=0.3, bands=10, rng=np.random.default_rng(1))
    before, after = (np.fft.rfft(x, axis=axis) for x in (signal, changed))
    gone = np.abs(after) < 1e-9
    # a component is removed from the whole window or not at all
    other = 3 - axis
    assert (gone.all(other) | ~gone.any(other)).all()
    assert gone.all(other).mean(axis=1) == pytest.approx(0.3, abs=0.07)
    np.testing.assert_allclose(after[~gone], before[~gone])


def test_components_above_the_used_band_are_kept():
    signal = np.random.default_rng(0).standard_normal((3, 4, 128))
    changed = remove_components(signal, axis=2, ratio=0.9, bands=5, rng=np.random.default_rng(0), n_used=20)
    before, after = np.fft.rfft(signal), np.fft.rfft(changed)
    np.testing.assert_allclose(after[..., 20:], before[..., 20:])
    assert (np.abs(after[..., :20]) < 1e-9).mean() > 0.7
    assert remove_components(signal, axis=2, ratio=0.0, bands=5, rng=np.random.default_rng(0)) is signal
