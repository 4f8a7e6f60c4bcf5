from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from brainof.stats import metrics
from brainof.stats.compare import paired, pseudo_values, signed_rank_p, standard_error


def test_paired_comparison_counts_subjects_once():
    first = {"a": 0.9, "b": 0.8, "c": 0.5, "d": float("nan")}
    second = {"a": 0.7, "b": 0.9, "c": 0.5, "d": 0.1, "e": 1.0}
    row = paired(first, second)
    assert (row["wins"], row["losses"], row["n_groups"]) == (1, 1, 3)
    assert row["difference"] == pytest.approx(0.1 / 3)
    assert paired(first, second, larger_is_better=False)["wins"] == 1
    assert paired(first, first)["p_value"] == 1.0


@pytest.mark.parametrize("n", [5, 12, 25])
def test_signed_rank_without_ties_is_that_of_scipy(n):
    difference = np.random.default_rng(n).standard_normal(n) + 0.4
    assert signed_rank_p(difference) == pytest.approx(wilcoxon(difference, method="exact").pvalue)


def test_signed_rank_with_ties_counts_every_flip():
    difference = np.array([1.0, 1.0, -1.0, 2.0, 2.0, 3.0, -0.5, 4.0])
    ranks = rankdata(np.abs(difference))
    sums = np.array([ranks[np.array(flip)].sum() for flip in itertools.product([False, True], repeat=8)])
    observed = ranks[difference > 0].sum()
    assert signed_rank_p(difference) == pytest.approx(2 * min((sums >= observed).mean(), (sums <= observed).mean()))
    assert signed_rank_p(np.array([])) == 1.0
    assert signed_rank_p(np.full(300, 0.1)) < 1e-10


def test_standard_error_leaves_out_what_is_undefined():
    assert standard_error([1.0, 3.0, float("nan")]) == pytest.approx(1.0)
    assert np.isnan(standard_error([1.0]))


def test_pseudo_values_of_a_mean_are_the_values():
    y, groups = np.arange(6.0), np.arange(6).astype(str)
    values = pseudo_values(lambda y, _: float(y.mean()), y, y, groups)
    np.testing.assert_allclose(list(values.values()), y)


def test_pseudo_values_give_the_standard_error_of_the_auc_of_delong():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [30, 40])
    scores = rng.standard_normal(70) + y
    values = list(pseudo_values(metrics.roc_auc, y, scores, np.arange(70)).values())
    wins = (scores[y == 1][:, None] > scores[y == 0]).astype(float)
    expected = np.sqrt(wins.mean(1).var(ddof=1) / 40 + wins.mean(0).var(ddof=1) / 30)
    assert np.mean(values) == pytest.approx(metrics.roc_auc(y, scores))
    assert standard_error(values) == pytest.approx(expected, rel=0.02)


def test_the_larger_class_does_not_decide_the_score_of_labels_of_subjects():
    y = np.array([0] * 9 + [1] * 3)
    scores = np.where(np.arange(12) < 11, -1.0, 1.0)  # all of the first class and one of three of the second
    values = list(pseudo_values(metrics.CLASSIFICATION["balanced_accuracy"], y, scores, np.arange(12)).values())
    assert np.mean(values) == pytest.approx((1 + 1 / 3) / 2)
