from __future__ import annotations

import math

import pytest

from brainof.corpus.buckets import fractions
from brainof.errors import ConfigError

SIZES = {("eeg", "a"): 900, ("eeg", "b"): 50, ("fmri", "b"): 25, ("fmri", "c"): 25}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, (0.9, 0.05, 0.025, 0.025)),
        ({"dataset": "proportional", "modality": "proportional"}, (0.9, 0.05, 0.025, 0.025)),
        ({"modality": "equal"}, (9 / 19, 0.5 / 19, 0.25, 0.25)),
        ({"dataset": "equal"}, (0.25, 0.25, 0.25, 0.25)),
        ({"dataset": {"temperature": 2}}, (30 / (40 + 50**0.5), 50**0.5 / (40 + 50**0.5)) + (5 / (40 + 50**0.5),) * 2),
        ({"dataset": "equal", "modality": {"eeg": 1, "fmri": 3}}, (1 / 8, 1 / 8, 3 / 8, 3 / 8)),
        ({"dataset": {"a": 1, "b": 3, "c": 1}}, (0.2, 0.4, 0.2, 0.2)),
        ({"modality": {"temperature": 1}}, (0.9, 0.05, 0.025, 0.025)),
    ],
)
def test_fractions_by_hand(weights, expected):
    found = fractions(SIZES, weights)
    assert list(found.values()) == pytest.approx(expected)
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"modalities": "equal"}, "weights.modalities: unknown key; did you mean 'modality'"),
        ({"modality": "equl"}, "did you mean 'equal'"),
        ({"modality": {"eeg": 1}}, "weights.modality.fmri: has no weight"),
        ({"modality": {"eeg": 1, "fmr": 1}}, "did you mean 'fmri'"),
        ({"dataset": {"a": 1, "b": 0, "c": 1}}, "weights.dataset.b: 0 is not a number above 0"),
        ({"dataset": {"a": 1, "b": "x", "c": 1}}, "weights.dataset.b: 'x'"),
        ({"dataset": {"temperature": -1}}, "temperature: -1"),
        ({"dataset": {"a": 1, "b": math.inf, "c": 1}}, "weights.dataset.b: inf"),
    ],
)
def test_a_wrong_rule_is_named(weights, words):
    with pytest.raises(ConfigError, match=words):
        fractions(SIZES, weights)


def test_a_dataset_named_temperature_can_be_weighted():
    assert fractions({("eeg", "temperature"): 1, ("eeg", "b"): 1}, {"dataset": {"temperature": 3, "b": 1}}) == {
        ("eeg", "temperature"): 0.75,
        ("eeg", "b"): 0.25,
    }
