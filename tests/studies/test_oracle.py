from __future__ import annotations

import numpy as np
import pytest
from studies.oracle import Epochs, best_accuracy, best_auc, joined, oracle_score, pooled, true_features

from brainof.simulate import cohort, task_parameters


def features(name: str, modalities: tuple[str, ...], **changes) -> dict[str, Epochs]:
    """True features of a few subjects."""
    parameters = task_parameters(
        name, subjects=4, modalities=modalities, channels=19, sfreq=128, sources={"regions": 40}, **changes
    )
    parts: dict[str, list[Epochs]] = {modality: [] for modality in modalities}
    for subject in cohort(parameters):
        for modality in modalities:
            parts[modality].append(true_features(subject, modality))
    return {modality: pooled(found) for modality, found in parts.items()}


def test_rest_and_task_are_told_apart_in_each_modality():
    found = features("rest_vs_task", ("eeg", "fmri"))
    assert oracle_score(found["eeg"]) > 0.9
    assert oracle_score(found["fmri"]) > 0.9


def test_frequency_and_topography_are_hidden_from_fmri():
    for name in ("frequency", "topography"):
        found = features(name, ("eeg", "fmri"), seconds=80.0, fmri_blocks=4)
        assert oracle_score(found["eeg"]) > 0.9
        assert oracle_score(found["fmri"]) < 0.7


def test_only_the_pair_tells():
    found = features("pair", ("eeg", "fmri"))
    assert oracle_score(found["eeg"]) < 0.75
    assert oracle_score(found["fmri"]) < 0.75
    assert oracle_score(joined(found["eeg"], found["fmri"]), centre=False) > 0.8


def test_nothing_is_found_where_there_is_nothing():
    found = features("null", ("eeg",))
    assert 0.3 < oracle_score(found["eeg"]) < 0.7


@pytest.mark.parametrize("d", [0.0, 0.8, 2.0])
def test_best_scores_match_a_large_sample(d):
    rng = np.random.default_rng(0)
    low, high = rng.standard_normal(200_000), d + rng.standard_normal(200_000)
    accuracy = ((low < d / 2).mean() + (high >= d / 2).mean()) / 2
    assert best_accuracy(d) == pytest.approx(accuracy, abs=5e-3)
    assert best_auc(d) == pytest.approx((high > low).mean(), abs=5e-3)
