from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.corpus import select, split_subjects, subjects
from brainof.errors import ConfigError, CorpusError

GROUPS = [
    {"modality": "eeg", "dataset": "a", "count": 10},
    {"modality": "fmri", "dataset": "a", "count": 5},
    {"modality": "eeg", "dataset": "b", "count": 10, "view": "workload"},
]


def test_conditions_combine_and_row_numbers_stay(make):
    index = make.index(GROUPS)
    assert select(index).index.tolist() == list(range(15))
    assert select(index, None).index.tolist() == list(range(25))
    assert select(index, "workload").index.tolist() == list(range(15, 25))
    assert select(index, modalities=["fmri"]).index.tolist() == list(range(10, 15))
    assert select(index, None, datasets="b", exclude_subjects=["b/p0", "a/p1"]).index.tolist() == [
        row for row in range(15, 25) if row % 5
    ]


@pytest.mark.parametrize(
    ("conditions", "error", "words"),
    [
        ({"view": "workloda"}, CorpusError, "did you mean 'workload'"),
        ({"modalities": ["meg"]}, CorpusError, "'meg' is not in the corpus"),
        ({"datasets": ["c"]}, CorpusError, "dataset: 'c'"),
        ({"datasets": ["b"]}, CorpusError, "no window is left"),
        ({"exclude_subjects": ["p1"]}, ConfigError, "dataset/subject"),
    ],
)
def test_conditions_that_cannot_be_met_are_named(make, conditions, error, words):
    with pytest.raises(error, match=words):
        select(make.index(GROUPS), **conditions)


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.integers(1, 8), min_size=1, max_size=4), fraction=st.floats(0.01, 0.9), seed=st.integers(0, 3)
)
def test_no_person_is_on_both_sides(make, counts, fraction, seed):
    index = make.index([{"modality": "eeg", "dataset": f"d{i}", "count": n} for i, n in enumerate(counts)])
    train, validation = split_subjects(index, fraction, seed)
    assert sorted([*train.index, *validation.index]) == list(index.index)
    assert not set(subjects(train)) & set(subjects(validation))
    for dataset, part in index.groupby("dataset", observed=True):
        held = validation[validation["dataset"] == dataset]["subject"].nunique()
        total = part["subject"].nunique()
        assert held == (0 if total == 1 else min(max(round(fraction * total), 1), total - 1))


def test_a_person_stays_on_one_side_across_modalities_and_additions(make):
    index = make.index(GROUPS)
    _, validation = split_subjects(index, 0.4)
    assert set(validation[validation["modality"] == "fmri"]["subject"]) == set(
        validation[(validation["modality"] == "eeg") & (validation["dataset"] == "a")]["subject"]
    )
    _, alone = split_subjects(select(index, None, datasets="b"), 0.4)
    assert set(subjects(alone)) == {person for person in subjects(validation) if person.startswith("b/")}
    assert set(subjects(split_subjects(index, 0.4, seed=1)[1])) != set(subjects(validation))


def test_nothing_held_out_and_wrong_fractions(make):
    index = make.index(GROUPS)
    assert len(split_subjects(index, 0.0)[1]) == 0
    with pytest.raises(ConfigError, match="fraction"):
        split_subjects(index, 1.0)
