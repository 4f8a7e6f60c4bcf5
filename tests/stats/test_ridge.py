from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from brainof.stats.metrics import balanced_accuracy
from brainof.stats.ridge import ALPHAS, RidgeSolver, classify, decisions, one_versus_rest, recentre
from brainof.stats.splits import CrossSubject


def data(n: int = 60, features: int = 20, classes: int = 2, effect: float = 1.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = rng.standard_normal((n, features)) * rng.uniform(0.1, 10, features) + rng.standard_normal(features)
    X[:, :classes] += effect * np.eye(classes)[y]
    return X, y, np.repeat(np.arange(n // 5), 5)


@pytest.mark.parametrize("features", [7, 200], ids=["primal", "dual"])
@pytest.mark.parametrize("classes", [2, 4])
def test_coefficients_are_those_of_scikit_learn(features, classes):
    X, y, groups = data(features=features, classes=classes)
    targets = one_versus_rest(y[:, None], classes)
    solver = RidgeSolver(X, groups, alphas=[0.3])
    solution = solver.solve(targets)
    scaler = StandardScaler().fit(X)
    expected = Ridge(alpha=0.3 * features).fit(scaler.transform(X), targets[:, 0])
    coefficients = solver.full.coefficients(solution.weights_RPK[:, 0])
    np.testing.assert_allclose(coefficients.T, np.atleast_2d(expected.coef_), atol=1e-9)
    np.testing.assert_allclose(solution.intercept_PK[0], expected.intercept_, atol=1e-9)
    predicted = expected.predict(scaler.transform(X)).reshape(len(X), -1)
    np.testing.assert_allclose(solver.predict(solution, X)[:, 0], predicted, atol=1e-8)


def test_alpha_is_the_one_a_loop_over_scikit_learn_chooses():
    X, y, groups = data(effect=0.7, features=40)
    targets = one_versus_rest(y[:, None], 2)[:, 0]
    errors = []
    for alpha in ALPHAS:
        error = 0.0
        for train, test in CrossSubject(4).split(groups=groups):
            scaler = StandardScaler().fit(X[train])
            model = Ridge(alpha=alpha * X.shape[1]).fit(scaler.transform(X[train]), targets[train])
            error += ((model.predict(scaler.transform(X[test])) - targets[test].ravel()) ** 2).sum()
        errors.append(error)
    assert RidgeSolver(X, groups).solve(targets[:, None]).alpha_P.tolist() == [ALPHAS[int(np.argmin(errors))]]
    assert 0 < int(np.argmin(errors)) < len(ALPHAS) - 1


def test_regression_agrees_with_scikit_learn():
    X, _, groups = data()
    y = X[:, 3] * 2 + 5
    solver = RidgeSolver(X, groups, alphas=[0.01])
    predicted = solver.predict(solver.solve(y[:, None, None]), X)[:, 0, 0]
    scaler = StandardScaler().fit(X)
    expected = Ridge(alpha=0.01 * X.shape[1]).fit(scaler.transform(X), y)
    np.testing.assert_allclose(predicted, expected.predict(scaler.transform(X)), atol=1e-9)


def test_many_labellings_at_once_are_what_one_at_a_time_gives():
    X, y, groups = data(classes=3, effect=1.0)
    rng = np.random.default_rng(1)
    labellings = np.stack([y, rng.permutation(y), rng.permutation(y)], axis=1)
    train, test = np.flatnonzero(groups < 9), np.flatnonzero(groups >= 9)
    scores = classify(RidgeSolver(X[train], groups[train]), labellings[train], 3, X[test])
    for column in range(3):
        alone = classify(RidgeSolver(X[train], groups[train]), labellings[train][:, [column]], 3, X[test])
        np.testing.assert_allclose(scores[:, column], alone[:, 0], atol=1e-9)


def test_nothing_of_the_test_side_reaches_the_fit():
    """Alpha, standardisation and threshold are functions of the training side: the test side is never passed in."""
    X, y, groups = data()
    train, test = np.arange(40), np.arange(40, 60)
    solver = RidgeSolver(X[train], groups[train])
    labellings = y[:, None].copy()
    before = classify(solver, labellings[train], 2, X[test])
    labellings[test] = 1 - labellings[test]
    np.testing.assert_array_equal(before, classify(solver, labellings[train], 2, X[test]))
    # a test row's score does not depend on the other test rows
    changed = X[test].copy()
    changed[1:] *= 100
    np.testing.assert_allclose(classify(solver, labellings[train], 2, changed)[0], before[0], atol=1e-12)


def test_unequal_classes_do_not_pull_the_threshold():
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.1).astype(int)
    X = rng.standard_normal((400, 30))
    X[:, 0] += 2 * y
    groups = np.arange(400) // 10
    decided = decisions(X[:200], y[:200, None], groups[:200], X[200:], 2)[:, 0]
    assert balanced_accuracy(y[200:], decided > 0) > 0.7
    solver = RidgeSolver(X[:200], groups[:200])
    naive = solver.predict(solver.solve(one_versus_rest(y[:200, None], 2)), X[200:])[:, 0, 0]
    assert balanced_accuracy(y[200:], naive > 0) < 0.6


def test_missing_and_constant_features_are_neutral():
    X, y, groups = data(effect=3.0)
    extended = np.concatenate([X[:, :10], np.ones((60, 1)), np.full((60, 1), np.nan)], axis=1)
    holed, expected = extended.copy(), extended.copy()
    holed[0, 0], expected[0, 0] = np.nan, X[:, 0].mean()
    plain = classify(RidgeSolver(X[:, :10], groups, alphas=[1.0]), y[:, None], 2, X[:, :10])
    solver = RidgeSolver(extended, groups, alphas=[10 / 12])
    found = {name: classify(solver, y[:, None], 2, rows) for name, rows in (("all", extended), ("holed", holed))}
    np.testing.assert_allclose(found["all"], plain, atol=1e-9)
    np.testing.assert_allclose(found["holed"], classify(solver, y[:, None], 2, expected))


def test_a_single_training_group_still_gives_a_probe():
    X, y, _ = data(effect=30.0)
    solver = RidgeSolver(X, np.zeros(60))
    assert solver.solve(one_versus_rest(y[:, None], 2)).alpha_P.tolist() == [ALPHAS[len(ALPHAS) // 2]]
    assert balanced_accuracy(y, classify(solver, y[:, None], 2, X)[:, 0, 0] > 0) > 0.9


def test_recentring_removes_what_tells_people_apart():
    X, _, groups = data()
    shifted = X + groups[:, None] * 10
    recentred = recentre(shifted, groups)
    np.testing.assert_allclose(recentred, recentre(X, groups), atol=1e-5)
    for group in np.unique(groups):
        np.testing.assert_allclose(recentred[groups == group].mean(0), 0, atol=1e-9)


def test_a_feature_that_a_person_lacks_stays_missing(recwarn):
    X, _, groups = data()
    X[groups == 2, 4] = np.nan
    assert np.isnan(recentre(X, groups)[groups == 2, 4]).all()
    assert len(recwarn) == 0
