from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainof.errors import LabelError
from brainof.stats.splits import (
    CrossSubject,
    check_disjoint,
    group_keys,
    match_sessions,
)


def index(n: int = 12, subjects: int = 4) -> pd.DataFrame:
    rows = np.arange(n)
    return pd.DataFrame(
        {
            "dataset": "made",
            "subject": [f"{row % subjects:02d}" for row in rows],
            "session": [str(row // subjects) for row in rows],
            "run": ["1"] * n,
            "recording": [f"r{row}" for row in rows],
            "view": "pretrain",
            "onset": 0.0,
        }
    ).astype({"subject": "category"})


@given(
    groups=st.lists(st.integers(0, 9), min_size=4, max_size=60).filter(lambda values: len(set(values)) > 2),
    n_splits=st.integers(2, 5),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_tested_once_per_repeat_and_no_group_leaks(groups, n_splits, repeats, seed):
    n_splits = min(n_splits, len(set(groups)))
    splitter = CrossSubject(n_splits, repeats, seed)
    folds = list(splitter.split(groups=groups))
    check_disjoint(groups, folds)
    assert len(folds) == splitter.get_n_splits(groups=groups) == n_splits * repeats
    tested = np.concatenate([test for _, test in folds])
    assert (np.bincount(tested, minlength=len(groups)) == repeats).all()
    assert all(len(train) + len(test) == len(groups) for train, test in folds)


def test_repeats_differ_and_seeds_repeat():
    groups = np.arange(20)
    one, two = (CrossSubject(4, 2, random_state=3) for _ in range(2))
    folds = [test.tolist() for _, test in one.split(groups=groups)]
    assert folds == [test.tolist() for _, test in two.split(groups=groups)]
    assert folds[:4] != folds[4:]


def test_folds_are_stratified_where_the_label_belongs_to_the_person():
    groups = np.repeat(np.arange(12), 3)
    y = np.repeat([0] * 8 + [1] * 4, 3)
    for _, test in CrossSubject(4).split(y=y, groups=groups):
        assert len(np.unique(groups[test][y[test] == 1])) == 1


def test_leave_one_run_out_leaves_each_run_once():
    folds = list(CrossSubject(None).split(groups=["a", "b", "a", "c"]))
    assert [test.tolist() for _, test in folds] != []
    assert sorted(len(test) for _, test in folds) == [1, 1, 2]


def test_too_few_groups_is_an_error():
    with pytest.raises(LabelError, match="6 folds over 2 groups; choose 2 to 2"):
        list(CrossSubject(6).split(groups=[0, 1, 1]))


def test_check_disjoint_names_the_group_that_leaks():
    with pytest.raises(LabelError, match="'b' is on both sides of fold 0"):
        check_disjoint(["a", "b", "b"], [(np.array([0, 1]), np.array([2]))])
    with pytest.raises(LabelError, match="one side of fold 0 is empty"):
        check_disjoint(["a"], [(np.array([0]), np.array([], int))])


def test_group_keys_join_entities_and_refuse_unnamed_groups():
    table = index()
    assert group_keys(table, "subject")[:2].tolist() == ["made/00", "made/01"]
    assert group_keys(table.assign(**{"label.run": "7"}), "label.run")[0] == "made/7"
    with pytest.raises(LabelError, match="did you mean 'subject'"):
        group_keys(table, "subjct")
    with pytest.raises(LabelError, match="'run' is empty in 1 of 12"):
        group_keys(table.assign(task=None, run=[None, *["1"] * 11]), "run")


def test_sessions_are_matched_by_person_whatever_their_order():
    table = index(8).iloc[[5, 0, 7, 2, 1, 6, 3, 4]].reset_index(drop=True)
    first, last, people = match_sessions(table)
    assert people.tolist() == ["made/00", "made/01", "made/02", "made/03"]
    assert table["session"].iloc[first].tolist() == ["0"] * 4
    assert table["session"].iloc[last].tolist() == ["1"] * 4
    assert (table["subject"].iloc[first].astype(str).to_numpy() == table["subject"].iloc[last].astype(str)).all()
    with pytest.raises(LabelError, match="0 subjects have two sessions"):
        match_sessions(index(4))
    with pytest.raises(LabelError, match="two recordings of one session"):
        match_sessions(pd.concat([index(8), index(8)]))


def test_session_10_is_the_last_of_1_2_and_10():
    table = pd.DataFrame({"dataset": "d", "subject": ["a"] * 3 + ["b"] * 3, "session": ["1", "2", "10"] * 2})
    first, last, _ = match_sessions(table)
    assert table["session"].iloc[first].tolist() == ["1", "1"]
    assert table["session"].iloc[last].tolist() == ["10", "10"]
