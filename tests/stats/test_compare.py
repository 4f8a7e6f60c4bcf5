from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from brainof.stats.compare import paired, signed_rank_p, standard_error


def test_paired_comparison_counts_people_once():
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
