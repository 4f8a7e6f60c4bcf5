"""scikit-learn's own checks, on the debug model: rows of plain tables are windows of one channel of unknown place."""

from __future__ import annotations

import pytest
import torch
from sklearn.utils.estimator_checks import check_methods_subset_invariance, parametrize_with_checks

from brainof import BrainOF, BrainOFClassifier, BrainOFEmbedder, BrainOFRegressor

ESTIMATORS = [
    BrainOFClassifier("debug", random_state=0),
    BrainOFRegressor("debug", random_state=0),
    BrainOFEmbedder("debug", random_state=0),
]


def expected_failures(estimator) -> dict[str, str]:
    return {
        "check_methods_subset_invariance": "sums over batches of other sizes round differently in float32, here up to "
        "2e-4 of a value near zero; the same check passes in float64 (below)"
    }


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", [BrainOFClassifier, BrainOFRegressor, BrainOFEmbedder])
def test_results_of_a_sample_do_not_depend_on_its_neighbours_in_float64(kind):
    torch.manual_seed(0)
    check_methods_subset_invariance(kind.__name__, kind(BrainOF.from_preset("debug").double(), random_state=0))
