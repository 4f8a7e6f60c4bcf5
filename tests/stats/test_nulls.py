from __future__ import annotations

import numpy as np
import pytest

from brainof.stats.nulls import p_value, permutation_units, permute_labels

people = np.repeat(np.arange(8), 6)
files = np.repeat(np.arange(16), 3)


def test_whole_recordings_move_where_a_label_is_constant_in_them():
    y = np.tile(np.repeat([0, 1], 3), 8)
    units = permutation_units(y, people, files)
    assert len(np.unique(units)) == 16
    permuted = permute_labels(y, people, units, np.random.default_rng(0))
    assert all(len(np.unique(permuted[files == file])) == 1 for file in range(16))
    # within a person the two files keep one label each
    assert all(permuted[people == group].sum() == 3 for group in range(8))
    assert (permuted != y).any()


def test_single_windows_move_where_labels_change_inside_a_recording():
    y = np.tile([0, 1], 24)
    units = permutation_units(y, people, files)
    assert len(np.unique(units)) == 48


def test_a_persons_label_moves_with_the_person():
    y = np.repeat([0, 1], 24)
    permuted = permute_labels(y, people, permutation_units(y, people, files), np.random.default_rng(1))
    assert all(len(np.unique(permuted[people == group])) == 1 for group in range(8))
    assert permuted.sum() == y.sum()
    assert (permuted != y).any()


@pytest.mark.parametrize("how", ["within", "between"])
def test_counts_are_kept(how):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 48)
    permuted = permute_labels(y, people, np.arange(48), rng, how)
    np.testing.assert_array_equal(np.bincount(permuted), np.bincount(y))
    if how == "within":
        for group in range(8):
            assert sorted(permuted[people == group]) == sorted(y[people == group])


def test_p_value_counts_the_observed_score_and_knows_errors():
    null = np.array([0.4, 0.5, 0.6])
    assert p_value(0.7, null) == 0.25
    assert p_value(0.5, null) == 0.75
    assert p_value(0.3, null, larger_is_better=False) == 0.25


def test_labels_move_only_where_the_nuisance_is_the_same():
    y = np.repeat([0, 0, 0, 1, 0, 1, 1, 1], 6)  # one of four people of each site has the other label
    site = np.repeat([0, 1], 24)
    units = permutation_units(y, people, files)
    seen = set()
    for seed in range(30):
        permuted = permute_labels(y, people, units, np.random.default_rng(seed), strata=site)
        assert (permuted[site == 0].sum(), permuted[site == 1].sum()) == (6, 18)
        assert all(len(np.unique(permuted[people == group])) == 1 for group in range(8))
        seen.add(tuple(permuted))
    assert len(seen) > 5
    follows = (site == 1).astype(int)
    np.testing.assert_array_equal(
        permute_labels(
            follows, people, permutation_units(follows, people, files), np.random.default_rng(0), strata=site
        ),
        follows,
    )
