"""Matching of moments by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainof.errors import ConfigError
from brainof.evaluation.matching import Segments, hit_rates, matched, matching_null, segments
from brainof.evaluation.protocol import Task
from brainof.evaluation.task import compared, rows_of
from brainof.stats.compare import standard_error


def index_of(subjects, onsets, **columns) -> pd.DataFrame:
    base = {"dataset": "made", "subject": list(subjects), "session": None, "task": "film", "run": "1"}
    return pd.DataFrame({**base, "onset": np.array(onsets, float), **columns})


def test_segments_are_rows_of_each_person_by_time():
    """Rows in any order; b lacks the moment at 4 s, and starts a third of a millisecond late."""
    index = index_of("abababa", [2, 0.0003, 0, 2.0003, 4, 6, 6])
    of = segments(index)
    assert {run: rows.tolist() for run, rows in of.rows.items()} == {"made//film/1": [[2, 0, 6], [1, 3, 5]]}
    assert of.subjects == {"made//film/1": ["made/a", "made/b"]}
    assert of.chance == pytest.approx(1 / 3)
    two = segments(index_of("aabbaabb", [0, 1, 0, 1, 0, 1, 0, 1], session=list("11112222")))
    assert {run: rows.tolist() for run, rows in two.rows.items()} == {
        "made/1/film/1": [[0, 1], [2, 3]],
        "made/2/film/1": [[4, 5], [6, 7]],
    }
    assert Segments({"x": np.zeros((2, 2)), "y": np.zeros((2, 4))}, {}).chance == pytest.approx((1 / 2 + 1 / 4) / 2)


def by_hand(X: np.ndarray, recentred: bool) -> np.ndarray:
    """Each segment's most similar one in the mean of the others, person by person, -1 for a tie."""
    X = np.where(np.isfinite(X), X, 0.0)
    if recentred:
        for person in range(len(X)):
            for feature in range(X.shape[2]):
                values = X[person, :, feature]
                X[person, :, feature] = (values - values.mean()) / values.std() if values.std() > 1e-12 else 0
    chosen = np.zeros(X.shape[:2], int)
    for person in range(len(X)):
        others = np.delete(X, person, axis=0).mean(axis=0)
        for segment in range(X.shape[1]):
            similar = [np.corrcoef(X[person, segment], other)[0, 1] for other in others]
            chosen[person, segment] = int(np.argmax(similar))
    return chosen


@pytest.mark.parametrize("recentred", [False, True])
def test_what_is_chosen_is_the_most_similar_mean_of_the_others(recentred):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((4, 5, 7)) + 1.5 * rng.standard_normal((1, 5, 7)) + 2 * rng.standard_normal((4, 1, 7))
    X[:, :, 2] = 4.0  # a feature that never changes
    X[1, 3, 5] = np.nan
    of = Segments({"r": np.arange(20).reshape(4, 5)}, {"r": list("abcd")})
    found = matched(X.reshape(20, 7), of, recentred)["r"]
    expected = by_hand(X.copy(), recentred)
    for row, name in enumerate("abcd"):
        assert found[name].tolist() == expected[row].tolist()
    constant = matched(np.ones((20, 7)), of, recentred)["r"]
    assert all((chosen == -1).all() for chosen in constant.values())


def test_hits_are_averaged_over_the_runs_of_a_person():
    found = {
        "one": {"a": np.array([0, 1, 2, 0]), "b": np.array([1, 0, 2, 3])},
        "two": {"a": np.array([1, 0]), "c": np.array([0, -1])},
    }
    assert hit_rates(found) == {"a": (0.75 + 0) / 2, "b": 0.5, "c": 0.5}


def test_the_null_exchanges_the_times_of_a_run_for_all_its_people_alike():
    found = {
        "one": {"a": np.arange(4), "b": np.array([1, 0, 2, 3])},
        "two": {"a": np.array([2, 1, 0])},
    }
    rng, expected = np.random.default_rng(7), []
    for _ in range(5):
        first, second = rng.permutation(4), rng.permutation(3)
        hits = [(found["one"]["a"] == first).mean(), (found["one"]["b"] == first).mean()]
        expected.append(np.mean([*hits, (found["two"]["a"] == second).mean()]))
    np.testing.assert_allclose(matching_null(found, 5, 7), expected)
    assert matching_null(found, 0).shape == (0,)


def test_rows_of_matching_are_the_arithmetic_on_hits():
    """Three people see four moments; `good` has them all, `seeds` one set that does and one that is constant."""
    index = index_of("aaaabbbbcccc", np.tile(np.arange(4), 3))
    moments = np.random.default_rng(0).standard_normal((4, 6))
    good, constant = np.tile(moments, (3, 1)), np.zeros((12, 6))
    good_but_c = good.copy()
    good_but_c[8:] = 0
    offered = {"good": [good], "seeds": [good, constant], "two of three": [good_but_c]}
    task = Task(name="t", view="v", kind="matching")

    def rows_for(offered: dict, seen: dict, n: int) -> list[dict]:
        outcomes, tested = compared(task, segments(index), offered, n), ("session", "top1")
        return rows_of(outcomes, {tested: 0.25}, tested, {"task": "t"}, "good", seen)

    rows = rows_for(offered, {"seeds": ["made/a"]}, 19)
    scores = {(r["features"], r["recentred"]): r for r in rows if r["row"] == "score"}
    assert len(scores) == 6
    row = scores["seeds", False]
    assert (row["score"], row["group_score"], row["n_seeds"]) == (0.5, 0.5, 2)
    assert (row["chance"], row["level"], row["metric"]) == (0.25, "session", "top1")
    assert (row["transductive"], row["n_seen"], row["group_se"]) == (True, 1, 0.0)
    of = segments(index)
    for recentred in (False, True):
        row = scores["seeds", recentred]
        null = matching_null(matched(good, of, recentred), 19, 0)
        assert row["null_mean"] == pytest.approx(null.mean())
        assert row["null_95"] == pytest.approx(np.quantile(null, 0.95))
        assert row["p_value"] == pytest.approx((1 + (null >= 1 - 1e-12).sum()) / 20)  # of the first seed
    assert scores["good", False]["score"] == 1.0
    assert (scores["good", True]["transductive"], scores["good", False]["transductive"]) == (True, False)
    partly = {r["group"]: r["score"] for r in rows if r["row"] == "group" and r["features"] == "two of three"}
    assert partly.keys() == {"made/a", "made/b", "made/c"}
    assert partly["made/c"] == 0.0
    assert scores["two of three", False]["score"] == pytest.approx(2 / 3)
    assert scores["two of three", False]["group_se"] == pytest.approx(standard_error([1, 1, 0]))
    against = {(r["against"], r["recentred"]): r for r in rows if r["row"] == "paired"}
    assert against.keys() == {(name, again) for name in ("seeds", "two of three") for again in (False, True)}
    row = against["two of three", False]
    assert (row["features"], row["wins"], row["losses"], row["n_groups"]) == ("good", 1, 0, 3)
    assert row["difference"] == pytest.approx(1 / 3)
    without = rows_for({"good": [good]}, {}, 0)
    assert {r["row"] for r in without} == {"score", "group"}
    assert without[0].get("p_value") is None
    with pytest.raises(ConfigError, match=r"t.baselines: 'x' needs a training side, and matching has none"):
        rows_for({"x": [lambda train, test: None]}, {}, 0)
