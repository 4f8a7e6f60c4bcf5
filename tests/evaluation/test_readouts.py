"""Read-outs against scikit-learn and loops written out."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from brainof.errors import ConfigError
from brainof.evaluation import readouts
from brainof.evaluation.folds import Split
from brainof.evaluation.readouts import PENALTIES, _decided, _validation, logistic, ridge
from brainof.stats.splits import CrossSubject


def people(n=6, each=10, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"p{i}" for i in range(n)], each)
    y = np.tile(np.arange(classes), n * each)[: n * each]
    X = rng.standard_normal((n * each, 4)) + 0.8 * y[:, None] * [1, 0, 0, 0]
    X[:, 1] += 3 * rng.standard_normal(n)[np.repeat(np.arange(n), each)]
    return X, y, groups


def by_hand(X, y, penalty, X_test):
    scaler = StandardScaler().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=500).fit(scaler.transform(X), y)
    return model.decision_function(scaler.transform(X_test))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_penalty_of_the_logistic_readout_is_chosen_on_inner_folds_over_people(seed):
    X, y, groups = people(seed=seed)
    X_test = np.random.default_rng(9).standard_normal((5, 4))
    inner = list(CrossSubject(4).split(groups=groups))
    found = {
        penalty: np.mean(
            [
                balanced_accuracy_score(y[test], by_hand(X[train], y[train], penalty, X[test]) > 0)
                for train, test in inner
            ]
        )
        for penalty in PENALTIES
    }
    best = max(found.values())
    penalty = min(each for each in PENALTIES if found[each] == best)  # the strongest of equal ones
    assert len(set(found.values())) > 1
    np.testing.assert_allclose(logistic(X, y, groups, X_test, 2), by_hand(X, y, penalty, X_test))


def test_missing_features_take_the_training_mean():
    X, y, groups = people()
    X[3, 2] = np.nan
    X_test = np.random.default_rng(9).standard_normal((5, 4))
    X_test[0, 2] = np.nan
    whole, whole_test = X.copy(), X_test.copy()
    whole[3, 2] = whole_test[0, 2] = np.nanmean(X[:, 2])
    np.testing.assert_allclose(logistic(X, y, groups, X_test, 2), logistic(whole, y, groups, whole_test, 2))


def test_one_group_or_inner_folds_of_one_class_take_the_middle_penalty():
    X, y, _ = people()
    X_test = np.random.default_rng(9).standard_normal((5, 4))
    expected = by_hand(X, y, PENALTIES[3], X_test)
    np.testing.assert_allclose(logistic(X, y, np.repeat("a", 60), X_test, 2), expected)
    order = np.argsort(y, kind="stable")
    groups = np.repeat(["a", "b"], 30)  # a label each: no inner fold can be trained
    np.testing.assert_allclose(logistic(X[order], y[order], groups, X_test, 2), by_hand(X, y, PENALTIES[3], X_test))
    assert PENALTIES[3] == pytest.approx(0.1)


def test_classes_that_the_training_side_lacks_are_never_chosen():
    model = SimpleNamespace(classes_=np.array([0, 2, 3]), decision_function=lambda X: np.tile([0.1, 0.2, 0.3], (2, 1)))
    np.testing.assert_array_equal(_decided(model, np.zeros((2, 1)), 5), [[0.1, -np.inf, 0.2, 0.3, -np.inf]] * 2)
    two = SimpleNamespace(classes_=np.array([1, 2]), decision_function=lambda X: np.array([0.5, -1.0]))
    np.testing.assert_array_equal(_decided(two, np.zeros((2, 1)), 3), [[-np.inf, -0.5, 0.5], [-np.inf, 1.0, -1.0]])
    np.testing.assert_array_equal(_decided(two, np.zeros((2, 1)), 2), [0.5, -1.0])
    X, y, groups = people(classes=3)
    assert logistic(X, y, groups, X[:7], 3).shape == (7, 3)
    assert (logistic(X, y, groups, X, 3).argmax(1) == y).mean() > 0.4


def test_shapes_are_those_of_decision_values():
    X, y, groups = people()
    assert ridge(X, y, groups, X[:7], 2).shape == (7,)
    assert ridge(X, y.astype(float), groups, X[:7], 0).shape == (7,)
    X, y, groups = people(classes=3)
    assert ridge(X, y, groups, X[:7], 3).shape == (7, 3)
    with pytest.raises(ConfigError, match="readouts: logistic: predicts classes, not values; use ridge"):
        logistic(X, y, groups, X, 0)


def asked(n_groups: int) -> SimpleNamespace:
    groups = np.repeat([f"p{i}" for i in range(n_groups)], 2)
    return SimpleNamespace(groups=groups, task=SimpleNamespace(name="t"))


@pytest.mark.parametrize(("n_groups", "held"), [(2, 1), (3, 1), (7, 1), (8, 2), (10, 2)])  # a fifth, rounded
def test_a_fifth_of_the_training_people_chooses(n_groups, held):
    question = asked(n_groups + 2)
    split = Split(np.arange(2 * n_groups), np.zeros(0, int), np.arange(2 * n_groups, 2 * n_groups + 4))
    inside, validation = _validation(question, split, 5)  # type: ignore[arg-type]
    names = np.random.default_rng(5).permutation(np.unique(question.groups[split.train]))[:held]
    assert set(question.groups[validation]) == set(names)
    assert not set(question.groups[inside]) & set(names)
    assert sorted([*inside, *validation]) == list(range(2 * n_groups))


def test_a_named_validation_side_is_used_and_one_person_cannot_choose():
    question = asked(4)
    split = Split(np.arange(4), np.array([4, 5]), np.array([6, 7]))
    inside, validation = _validation(question, split, 0)  # type: ignore[arg-type]
    assert (inside.tolist(), validation.tolist()) == ([0, 1, 2, 3], [4, 5])
    with pytest.raises(ConfigError, match="t: one training group only, none is left to choose a learning rate"):
        _validation(question, Split(np.arange(2), np.zeros(0, int), np.arange(2, 8)), 0)  # type: ignore[arg-type]


class Fitted:
    """An adaptation that predicts 1 / lr for every row."""

    lr = 2.0

    def __init__(self, lr: float = 2.0, trained: list | None = None) -> None:
        self.lr, self.trained = lr, [] if trained is None else trained

    def model_copy(self, update):
        return Fitted(update["lr"], self.trained)

    def apply(self, model, data):
        self.trained.append((self.lr, data))
        return self.lr


class Data:
    def __init__(self, *_) -> None: ...

    def take(self, rows):
        return rows


@pytest.mark.parametrize(
    ("kind", "metric", "y", "best"),
    [
        ("regression", "mae", 1 / 0.6, 0.6),  # a rate of 0.6 predicts it; errors of others are larger
        ("classification", "balanced_accuracy", 1, 0.6),  # all are right: the first stays
    ],
)
def test_the_learning_rate_is_the_one_that_scores_best_on_validation_rows(monkeypatch, kind, metric, y, best):
    base = Fitted()
    monkeypatch.setattr(readouts, "adaptation", lambda values: base)
    monkeypatch.setattr(readouts, "TrainingSet", Data)
    monkeypatch.setattr(readouts, "CorpusRows", lambda *_: None)
    monkeypatch.setattr(readouts, "decision", lambda fitted, rows: np.full(len(rows), 1 / fitted))
    values = np.full(8, y, float) if kind == "regression" else np.ones(8, int)
    task = SimpleNamespace(kind=kind, tunings={}, name="t")
    question = SimpleNamespace(task=task, metric=metric, y=values, groups=np.arange(8).astype(str))
    question.classes, question.corpus, question.rows = ["a", "b"], None, None
    split = Split(np.arange(4), np.array([4, 5]), np.array([6, 7, 0]))
    model = SimpleNamespace(config=SimpleNamespace(patch=64))
    scores, about = readouts.trained("lora", model, question, split, 0)  # type: ignore[arg-type]
    assert [lr for lr, _ in base.trained] == pytest.approx([0.6, 2.0, 6.0])
    assert all(rows.tolist() == [0, 1, 2, 3] for _, rows in base.trained)
    assert about == {"lr": best, "validation": 0.0 if metric == "mae" else 1.0, "n_validation": 2}
    np.testing.assert_array_equal(scores, np.full(3, 1 / best))
