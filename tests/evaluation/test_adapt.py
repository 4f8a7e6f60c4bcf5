"""Scores of `brainof adapt` by hand."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from brainof.evaluation.adapt import cross_validated, scores
from brainof.evaluation.folds import NONE, Split
from brainof.evaluation.questions import Question
from brainof.evaluation.readouts import decision
from brainof.evaluation.suite import SuiteTask


class Data:
    """Training data whose "features" are row numbers."""

    def __init__(self, rows) -> None:
        self.examples, self.features = rows, None

    def take(self, rows):
        return Data(self.examples[rows])


def scored(monkeypatch, kind, y, groups, folds, fitted):
    monkeypatch.setattr(import_module("brainof.evaluation.adapt"), "decision", lambda found, data: found(data.examples))
    chosen = SimpleNamespace(apply=lambda base, data: fitted(data.examples), to_dict=lambda: {"adaptation": "probe"})
    data, names = Data(np.arange(len(y))), np.array(groups)
    task = SuiteTask(name="t", recipe="made/t", view="v", label="x", kind=kind)
    classes = ["a", "b"] if kind == "classification" else []
    question = Question(task, None, data.examples, None, y, classes, names, np.arange(len(y)), folds)  # type: ignore[arg-type]
    asked = SimpleNamespace(data=data, question=question, chosen=chosen, base=None)
    return scores(asked, *cross_validated(asked))  # type: ignore[arg-type]


def test_scores_are_means_over_folds_with_the_error_over_people(monkeypatch):
    """Four people of two windows a class; a is right, b misses one rest, c one of each, d none."""
    y, groups, rows = np.tile([0, 0, 1, 1], 4), np.repeat(list("abcd"), 4), np.arange(16)
    wrong = [4, 8, 10]

    class Model:
        report = {"penalty": 3}

        def __init__(self, trained):
            self.trained = trained

        def __call__(self, tested):
            assert not set(tested) & set(self.trained)
            return np.where(np.isin(tested, wrong), -1, 1) * (2 * y[tested] - 1.0)

    folds = [Split(rows[8:], NONE, rows[:8]), Split(rows[:8], NONE, rows[8:])]
    found = scored(monkeypatch, "classification", y, groups, folds, Model)
    metric = found["metrics"]["balanced_accuracy"]
    assert metric["folds"] == [(3 / 4 + 1) / 2, (3 / 4 + 3 / 4) / 2]
    assert metric["mean"] == pytest.approx((0.875 + 0.75) / 2)
    people = {"a": 1.0, "b": 0.75, "c": 0.5, "d": 1.0}
    assert metric["groups"] == people
    assert metric["se"] == pytest.approx(np.std(list(people.values()), ddof=1) / 2)
    assert (found["adaptation"], found["report_of_last_fold"]) == ({"adaptation": "probe"}, {"penalty": 3})
    assert found["metrics"].keys() == {"balanced_accuracy", "roc_auc", "kappa"}
    assert found["confusion"] == {"classes": ["a", "b"], "counts": [[6, 2], [1, 7]]}


def test_repeats_of_labels_of_people_are_scored_repeat_by_repeat(monkeypatch):
    """A label a person, in two repeats, by pseudo-values: all are right in the first, b and c wrong in the second."""
    y, groups, rows = np.repeat([0, 1, 0, 1], 2), np.repeat(list("abcd"), 2), np.arange(8)

    class Model:
        report = {}

        def __init__(self, trained):
            self.second = 0 in trained and 7 in trained

        def __call__(self, tested):
            right = 2 * y[tested] - 1.0
            return np.where(np.isin(tested, [2, 3, 4, 5]), -right, right) if self.second else right

    ab, cd, bc, ad = (
        np.concatenate([rows[2 * i : 2 * i + 2] for i in each]) for each in ((0, 1), (2, 3), (1, 2), (0, 3))
    )
    folds = [Split(train, NONE, test) for train, test in ((cd, ab), (ab, cd), (ad, bc), (bc, ad))]
    found = scored(monkeypatch, "classification", y, groups, folds, Model)["metrics"]["balanced_accuracy"]
    assert found["folds"] == [1.0, 1.0, 0.0, 1.0]
    # the second is 1/2, 1/4 without a or d and 3/4 without b or c: 4 x 1/2 - 3 x 1/4 and 4 x 1/2 - 3 x 3/4
    right, wrong = (1 + 1.25) / 2, (1 - 0.25) / 2
    assert found["groups"] == pytest.approx({"a": right, "b": wrong, "c": wrong, "d": right})


def test_values_are_scored_as_values(monkeypatch):
    y, rows = np.array([1.0, 2, 3, 4]), np.arange(4)

    class Model:
        report = {}

        def __init__(self, trained): ...

        def __call__(self, tested):
            return y[tested] + [0.5, -1.5]

    folds = [Split(rows[2:], NONE, rows[:2]), Split(rows[:2], NONE, rows[2:])]
    found = scored(monkeypatch, "regression", y, list("aabb"), folds, Model)
    assert found["metrics"]["mae"]["folds"] == [1.0, 1.0]
    assert found["metrics"]["mae"]["groups"] == {"a": 1.0, "b": 1.0}
    assert found["metrics"]["mae"]["se"] == 0.0


def test_members_of_an_ensemble_average_probabilities_or_values():
    data = SimpleNamespace(examples="windows", features="pooled")

    def member(outputs, temperature=1.0):
        def of(examples, *, features):
            assert (examples, features) == ("windows", "pooled")
            return np.array(outputs, float)

        return SimpleNamespace(outputs=of, temperature=temperature)

    values = SimpleNamespace(kind="regression", members=lambda: [member([[[1], [3]]]), member([[[2], [5]]])])
    np.testing.assert_allclose(decision(values, data), [1.5, 4])  # type: ignore[arg-type]
    three = [member([[[2, 0, 0], [0, 1, 0]]]), member([[[0, 0, 1], [0, 1, 3]]])]
    classes = SimpleNamespace(kind="classification", members=lambda: three)
    softmax = [np.exp(part.outputs("windows", features="pooled")[0]) for part in three]
    mean = np.mean([each / each.sum(1, keepdims=True) for each in softmax], axis=0)
    found = decision(classes, data)  # type: ignore[arg-type]
    assert found.shape == (2, 3)
    np.testing.assert_array_equal(found.argmax(1), mean.argmax(1))
    two = SimpleNamespace(
        kind="classification", members=lambda: [member([[[2, 0], [0, 1]]]), member([[[0, 1], [0, 1]]])]
    )
    found = decision(two, data)  # type: ignore[arg-type]
    assert found.shape == (2,)
    assert (found > 0).tolist() == [False, True]
