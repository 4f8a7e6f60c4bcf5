from __future__ import annotations

import numpy as np

from brainof.stats.nulls import p_value, permutations

subjects = np.repeat(np.arange(8), 6)
files = np.repeat(np.arange(16), 3)


def permuted_once(*labels, **options) -> np.ndarray:
    return next(permutations(*labels, **options))


def runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """(label, length) of each run of equal labels."""
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    return list(zip(labels[starts].tolist(), np.diff(np.r_[starts, len(labels)]).tolist(), strict=True))


def test_whole_recordings_move_where_a_label_is_constant_in_them():
    y = np.tile(np.repeat([0, 1], 3), 8)
    permuted = permuted_once(y, subjects, files, np.random.default_rng(0))
    assert all(len(np.unique(permuted[files == file])) == 1 for file in range(16))
    # within a subject the two files keep one label each
    assert all(permuted[subjects == group].sum() == 3 for group in range(8))
    assert (permuted != y).any()


def test_runs_of_equal_label_move_with_their_length_where_labels_change_inside_a_recording():
    y = np.array([0] * 10 + [1] * 2 + [2] * 5 + [1] * 7 + [2] * 3 + [0] * 9)
    recording = np.repeat(["a", "b"], [17, 19])
    order = np.random.default_rng(0).permutation(36)  # rows of an index need not be in the order of time
    moved = False
    for seed in range(20):
        permuted = np.empty(36, int)
        permuted[order] = permuted_once(
            y[order], np.zeros(36), recording[order], np.random.default_rng(seed), onsets=np.arange(36.0)[order]
        )
        assert sorted(runs(permuted[:17])) == [(0, 10), (1, 2), (2, 5)]
        assert sorted(runs(permuted[17:])) == [(0, 9), (1, 7), (2, 3)]
        moved |= bool((permuted != y).any())
    assert moved


def test_a_subjects_label_moves_with_the_subject():
    y = np.repeat([0, 1], 24)
    permuted = permuted_once(y, subjects, files, np.random.default_rng(1))
    assert all(len(np.unique(permuted[subjects == group])) == 1 for group in range(8))
    assert permuted.sum() == y.sum()
    assert (permuted != y).any()


def test_p_value_counts_the_observed_score_and_knows_errors():
    null = np.array([0.4, 0.5, 0.6])
    assert p_value(0.7, null) == 0.25
    assert p_value(0.5, null) == 0.75
    assert p_value(0.3, null, larger_is_better=False) == 0.25


def test_labels_move_only_where_the_nuisance_is_the_same():
    y = np.repeat([0, 0, 0, 1, 0, 1, 1, 1], 6)  # one of four subjects of each site has the other label
    site = np.repeat([0, 1], 24)
    seen = set()
    for seed in range(30):
        permuted = permuted_once(y, subjects, files, np.random.default_rng(seed), strata=site)
        assert (permuted[site == 0].sum(), permuted[site == 1].sum()) == (6, 18)
        assert all(len(np.unique(permuted[subjects == group])) == 1 for group in range(8))
        seen.add(tuple(permuted))
    assert len(seen) > 5
    follows = (site == 1).astype(int)
    np.testing.assert_array_equal(
        permuted_once(follows, subjects, files, np.random.default_rng(0), strata=site), follows
    )
