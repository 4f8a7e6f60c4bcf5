"""Folds by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from brainof.errors import LabelError
from brainof.evaluation.folds import Split, both_held_out, fractions, named, read_splits, splits
from brainof.evaluation.suite import SuiteTask

NONE = np.zeros(0, int)


def index_of(subjects, **columns) -> pd.DataFrame:
    base = {"dataset": "made", "subject": list(subjects), "session": None, "task": "t", "run": "1"}
    base |= {"recording": list(subjects), "onset": np.arange(len(subjects), dtype=float)}
    return pd.DataFrame({**base, **columns})


def task(**changes) -> SuiteTask:
    values = {"name": "t", "recipe": "made/t", "view": "v", "label": "x", "repeats": 1, "kind": "regression"}
    return SuiteTask.parse({**values, **changes})


def test_values_of_a_second_level_are_held_out_in_four_parts():
    """Six runs: 1 and 2, 3 and 4, 5, 6; each leaves the training side, and alone remains of the test side."""
    runs = np.tile(list("123456"), 2)
    fold = Split(np.arange(6), NONE, np.arange(6, 12))
    found = both_held_out([fold], index_of("a" * 6 + "b" * 6, run=runs), task(also="run"))
    assert [split.test.tolist() for split in found] == [[6, 7], [8, 9], [10], [11]]
    assert [split.train.tolist() for split in found] == [[2, 3, 4, 5], [0, 1, 4, 5], [0, 1, 2, 3, 5], [0, 1, 2, 3, 4]]
    two = both_held_out([fold], index_of("a" * 6 + "b" * 6, run=list("111222" * 2)), task(also="run"))
    assert [split.test.tolist() for split in two] == [[6, 7, 8], [9, 10, 11]]
    with pytest.raises(LabelError, match=r"t.also: 'run' is empty in some rows"):
        both_held_out([fold], index_of("a" * 12, run=[None, *"2" * 11]), task(also="run"))


def test_fractions_of_the_groups_are_rounded_and_drawn_by_seed():
    groups = np.repeat(list("abcdefg"), 2)
    asked = task(fractions=[2, 1, 1], random_state=5)  # of 7: 3.5, 5.25 and 7, rounded 4, 5 and 7
    for seed in (0, 3):
        names = np.random.default_rng(5 + seed).permutation(list("abcdefg"))
        sides = fractions(groups, asked, seed)
        for side, own in zip(sides, (names[:4], names[4:5], names[5:]), strict=True):
            assert groups[side].tolist() == sorted(np.repeat(own, 2))
    assert fractions(groups, asked, 0).test.tolist() != fractions(groups, asked, 3).test.tolist()


def test_a_split_file_gives_its_folds_in_order(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(
        json.dumps([{"train": ["a", "d"], "validation": ["b"], "test": ["c"]}, {"train": [1], "test": [2]}])
    )
    assert read_splits(path)[1] == {"train": ["1"], "validation": [], "test": ["2"]}
    path.write_text(
        json.dumps([{"train": ["a", "d"], "validation": ["b"], "test": ["c"]}, {"train": "a", "test": "b"}])
    )
    groups, found = splits(index_of("aabbccd"), task(split_file=str(path)), np.arange(7.0))
    assert groups.tolist() == ["made/a"] * 2 + ["made/b"] * 2 + ["made/c"] * 2 + ["made/d"]
    assert [[side.tolist() for side in split] for split in found] == [
        [[0, 1, 6], [2, 3], [4, 5]],
        [[0, 1], [], [2, 3]],
    ]
    sessions = index_of("aabb", session=list("1212"))
    path.write_text(json.dumps([{"train": ["made/a/1", "made/b/1"], "test": ["made/a/2"]}]))
    _, (split,) = splits(sessions, task(split_file=str(path), split="session"), np.arange(4.0))
    assert (split.train.tolist(), split.test.tolist()) == ([0, 2], [1])


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([{"train": ["a"], "validation": ["b"], "test": ["b"]}], "'b' is on both sides of fold 0"),
        ([{"train": ["a"], "validation": ["a"], "test": ["b"]}], "'a' is on both sides of fold 0"),
        ([{"train": ["a"], "test": ["b"]}, {"train": [], "test": ["b"]}], "one side of fold 1 is empty"),
        ([{"train": ["a"], "test": ["b"]}, {"train": ["a"], "test": []}], "one side of fold 1 is empty"),
        ([{"train": ["a"], "test": ["b"]}, {"train": ["b"], "test": ["b"]}], "'b' is on both sides of fold 1"),
        (
            [{"train": ["a"], "validation": ["x"], "test": ["b"]}],
            "splits.json.validation: names 'x', which is not here",
        ),
        ({"train": ["a"]}, "holds no folds"),
        (["a"], "holds no folds"),
        ([{"train": 3}], "holds no folds"),
    ],
)
def test_folds_that_leak_or_are_none_are_named(tmp_path, folds, message):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(folds))
    with pytest.raises(LabelError, match=re.escape(message)):
        splits(index_of("aabb"), task(split_file=str(path)), np.arange(4.0))


def test_a_split_file_that_is_missing_or_no_json_is_named(tmp_path):
    with pytest.raises(LabelError, match=r"no.json: split_file: file not found"):
        read_splits(tmp_path / "no.json")
    (tmp_path / "text.json").write_text("a, b")
    with pytest.raises(LabelError, match=r"text.json: split_file: holds no folds .*write \[\{train, test\}\]"):
        read_splits(tmp_path / "text.json")


def test_a_fold_that_trains_on_one_class_is_named_by_number_and_size():
    asked = task(kind="classification", n_splits=2)
    with pytest.raises(LabelError, match=r"t.x: fold \d trains on one class only \(3 windows\)"):
        splits(index_of("aaabbb"), asked, np.array([0, 0, 0, 1, 1, 1]))
    _, found = splits(index_of("aaabbb"), asked, np.array([0, 1, 0, 1, 1, 0]))
    assert sorted(split.test.tolist() for split in found) == [[0, 1, 2], [3, 4, 5]]
    assert all(len(split.validation) == 0 for split in found)
    _, found = splits(index_of("aaabbb"), task(n_splits=2), np.zeros(6))  # of values there are no classes
    assert len(found) == 2


@pytest.mark.parametrize(("by", "column"), [("run", "run"), ("site", "label.site")])
def test_a_published_split_goes_by_an_entity_or_a_label(by, column):
    split = {"by": by, "train": ["1", "2"], "validation": ["3"], "test": ["4"], "source": "none"}
    asked = task(published=True, published_split=split)
    index = index_of("abcdab", **{column: list("123412")})
    _, (found,) = splits(index, asked, np.arange(6.0))
    assert [side.tolist() for side in found] == [[0, 1, 4, 5], [2], [3]]
    with pytest.raises(LabelError, match=r"published_split.by: no entity or label 'sitee'"):
        splits(index, task(published=True, published_split={**split, "by": "sitee"}), np.arange(6.0))
    _, plain = splits(index, task(published_split=split, n_splits=2), np.arange(6.0))
    assert len(plain) == 2  # not asked for


def test_members_are_found_by_name():
    split = named(np.array(list("abca")), {"train": ["a"], "validation": [], "test": ["c", "b"]}, "x")
    assert [side.tolist() for side in split] == [[0, 3], [], [1, 2]]


def test_one_group_or_an_empty_side_is_named():
    with pytest.raises(LabelError, match=r"t.split: one subject only \(made/a\); split by run"):
        splits(index_of("aaaa"), task(), np.arange(4.0))
    with pytest.raises(LabelError, match=r"t.split: one side of fold 0 is empty"):
        splits(index_of("aabb"), task(fractions=[98, 1, 1]), np.arange(4.0))
