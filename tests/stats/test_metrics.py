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
