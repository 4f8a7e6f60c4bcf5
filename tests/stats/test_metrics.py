from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from brainof.stats import metrics


@given(seed=st.integers(0, 1000), n_classes=st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_accuracy_and_auc_agree_with_scikit_learn(seed, n_classes):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 20)])
    if n_classes == 2:
        scores = rng.integers(-3, 4, len(y)) + 0.5  # with ties
        assert metrics.roc_auc(y, scores) == pytest.approx(roc_auc_score(y, scores))
    else:
        scores = rng.dirichlet(np.ones(n_classes), len(y))
        assert metrics.roc_auc(y, scores) == pytest.approx(roc_auc_score(y, scores, multi_class="ovr"))
    predicted = metrics.decide(scores)
    assert metrics.balanced_accuracy(y, predicted) == pytest.approx(balanced_accuracy_score(y, predicted))


def test_undefined_scores_are_nan():
    assert np.isnan(metrics.roc_auc(np.ones(3, int), np.arange(3.0)))
    assert np.isnan(metrics.kappa(np.zeros(3, int), np.zeros(3, int)))
    assert np.isnan(metrics.pearson(np.arange(3.0), np.ones(3)))


def test_auc_per_person_is_blind_to_a_shift_between_people():
    y, groups = np.array([0, 1, 0, 1]), np.array(["a", "a", "b", "b"])
    scores = np.array([0.0, 1.0, 10.0, 11.0])
    assert metrics.per_group(metrics.roc_auc, y, scores, groups) == {"a": 1.0, "b": 1.0}
    assert metrics.roc_auc(y, scores) == 0.75


def test_files_average_their_windows_unless_labels_differ_inside():
    y, scores, units = np.array([0, 0, 1, 1]), np.array([-1.0, 0.5, 2.0, -1.0]), np.array(["a", "a", "b", "b"])
    found = metrics.average_within(y, scores, units)
    assert found is not None
    np.testing.assert_allclose(found[1], [-0.25, 0.5])
    assert found[0].tolist() == [0, 1]
    assert metrics.average_within(np.array([0, 1, 1, 1]), scores, units) is None


def test_identification_finds_noisy_copies_and_not_constants():
    rng = np.random.default_rng(0)
    first = rng.standard_normal((8, 200))
    order = rng.permutation(8)
    forward, backward = metrics.identification(
        metrics.similarity(first, (first + 0.5 * rng.standard_normal((8, 200)))[order])
    )
    np.testing.assert_array_equal(forward, np.argsort(order))
    np.testing.assert_array_equal(backward, order)
    forward, backward = metrics.identification(metrics.similarity(np.ones((4, 3)), np.ones((4, 3))))
    assert (forward == -1).all()
    assert (backward == -1).all()


def test_similarity_is_the_correlation():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 10)), rng.standard_normal((3, 10))
    np.testing.assert_allclose(metrics.similarity(a, b, standardised=False), np.corrcoef(a, b)[:3, 3:], atol=1e-12)


def test_scores_by_hand():
    y, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    assert metrics.balanced_accuracy(y, predicted) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics.balanced_accuracy(np.array([2, 2]), np.array([2, 0])) == 0.5  # of the classes that are there
    # 3 of 5 agree; by chance 2/5 x 2/5 + 3/5 x 3/5 = 13/25 do
    assert metrics.kappa(y, predicted) == pytest.approx((3 / 5 - 13 / 25) / (1 - 13 / 25))
    assert metrics.kappa(y, y) == 1.0
    assert metrics.kappa(np.zeros(3, int), np.array([0, 1, 0])) == 0.0
    assert metrics.pearson(np.array([1.0, 2, 3]), np.array([2.0, 2, 5])) == pytest.approx(3 / np.sqrt(2 * 6))
    assert np.isnan(metrics.pearson(np.ones(3), np.arange(3.0)))
    assert metrics.r2(np.array([1.0, 2, 3]), np.array([1.0, 2, 5])) == pytest.approx(1 - 4 / 2)
    assert metrics.r2(np.array([1.0, 2]), np.array([1.0, 2])) == 1.0
    assert np.isnan(metrics.r2(np.array([1.0]), np.array([1.0])))
    assert metrics.REGRESSION["mae"](np.array([1.0, 2]), np.array([2.0, 4])) == 1.5
    assert metrics.decide(np.array([-1.0, 0, 1])).tolist() == [0, 0, 1]
    assert metrics.decide(np.array([[0.1, 0.2], [0.4, 0.3]])).tolist() == [1, 0]
    assert metrics.CLASSIFICATION["kappa"](y, np.array([-1.0, 1, 1, 1, -1])) == metrics.kappa(y, predicted)


def test_auc_counts_pairs_and_half_of_the_ties():
    """Of the six pairs four are in order and one ties."""
    assert metrics.roc_auc(np.array([0, 0, 1, 1, 1]), np.array([1.0, 3, 2, 3, 4])) == pytest.approx(4.5 / 6)
    scores = np.array([[3.0, 1, 0], [1, 2, 0], [2, 3, 0], [0, 1, 5]])
    y = np.array([0, 1, 1, 0])  # class 2 is not there: the mean over two
    zero = (1 + 0 + 0 + 1) / 4  # 3 and 0 against 1 and 2
    one = (1 + 1 + 1 + 1) / 4  # 2 and 3 against 1 and 1
    assert metrics.roc_auc(y, scores) == pytest.approx((zero + one) / 2)


def test_means_of_units_keep_columns_labels_and_first_rows():
    y, units = np.array([1, 0, 1, 0, 0]), np.array(["b", "a", "b", "a", "a"])
    scores = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8], [2, 0]])
    found_y, found, first = metrics.average_within(y, scores, units)
    assert (found_y.tolist(), first.tolist()) == ([0, 1], [1, 0])
    np.testing.assert_allclose(found, [[4, 4], [3, 4]])


def test_standard_columns_have_mean_0_and_variance_1_and_constant_ones_are_0():
    X = np.array([[1.0, 5, 1e9], [3, 5, 1e9 + 1e-5], [5, 5, 1e9]])
    found = metrics.standardise(X)
    np.testing.assert_allclose(found[:, 0], np.array([-1, 0, 1]) / np.sqrt(2 / 3))
    np.testing.assert_array_equal(found[:, 1:], 0)
    X = np.random.default_rng(0).standard_normal((4, 5)) * [1, 10, 100, 1, 1]
    expected = np.corrcoef((X - X.mean(0)) / X.std(0))[:2, 2:]
    np.testing.assert_allclose(metrics.similarity(X[:2], X[2:]), expected, atol=1e-12)


def test_the_most_similar_both_ways_and_ties_are_misses():
    similar = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1], [0.3, 0.8, 0.8]])
    forward, backward = metrics.identification(similar)
    assert forward.tolist() == [0, -1, -1]
    assert backward.tolist() == [0, 2, 2]
