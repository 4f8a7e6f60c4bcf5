"""Matching of moments by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from brainof.errors import ConfigError
from brainof.evaluation.matching import Segments, hit_rates, matched, matching_null, segments
from brainof.evaluation.questions import Question
from brainof.evaluation.suite import SuiteTask
from brainof.evaluation.summary import moabb_table, summary
from brainof.evaluation.task import pipelines
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


def test_a_line_of_matching_is_the_arithmetic_on_hits():
    """Three people see four moments; `good` has them all, `seeds` one set that does and one that is constant."""
    index = index_of("aaaabbbbcccc", np.tile(np.arange(4), 3), modality="fmri", n_channels=1, recording="r")
    moments = np.random.default_rng(0).standard_normal((4, 6))
    good, constant = np.tile(moments, (3, 1)), np.zeros((12, 6))
    good_but_c = good.copy()
    good_but_c[8:] = 0
    offered = {"good": good, "seeds": [good, constant], "random weights": good_but_c}
    of, nobody = segments(index), np.array([f"made/{name}" for name in index["subject"]])
    task = SuiteTask.parse({"name": "t", "recipe": "made/t", "view": "v", "kind": "matching", "baselines": []})
    question = Question(task, None, np.arange(12), index, np.zeros(0), [], nobody, nobody, [], of)  # type: ignore[arg-type]
    found = pipelines(question, offered, seen={"seeds": ["made/a"]}, n_permutations=19)
    lines = {(row["entry"], row["option"]): row for row in summary(found).to_dict("records")}
    assert len(lines) == 7  # chance has no second option
    row = lines["seeds", "plain"]
    assert (row["score"], row["n_seeds"], row["n_people"]) == (0.5, 2, 3)
    assert (row["chance"], row["readout"], row["metric"]) == (0.25, "match", "top1")
    assert (row["transductive"], row["low"], row["high"]) == (True, 0.5, 0.5)
    for option in ("plain", "recentred"):
        row = lines["seeds", option]
        null = matching_null(matched(good, of, option == "recentred"), 19, 0)
        assert row["null_95"] == pytest.approx(np.quantile(null, 0.95))
        assert row["p_value"] == pytest.approx((1 + (null >= 1 - 1e-12).sum()) / 20)  # of the first seed
    assert lines["good", "plain"]["score"] == 1.0
    assert (lines["good", "recentred"]["transductive"], lines["good", "plain"]["transductive"]) == (True, False)
    people = moabb_table(found, "s").query("entry == 'random weights' and option == 'plain'")
    partly = dict(zip(people["subject"], people["score"], strict=True))
    assert partly.keys() == {"a", "b", "c"}
    assert partly["c"] == 0.0
    row = lines["random weights", "plain"]
    assert row["score"] == pytest.approx(2 / 3)
    reach = student.ppf(0.975, 2) * standard_error([1, 1, 0])
    assert (row["low"], row["high"]) == (pytest.approx(2 / 3 - reach), pytest.approx(2 / 3 + reach))
    row = lines["good", "plain"]
    assert (row["against"], row["wins"], row["losses"]) == ("random weights", 1, 0)
    assert row["gain"] == pytest.approx(1 / 3)
    without = summary(pipelines(question, {"good": good}))
    assert "p_value" not in without
    with pytest.raises(ConfigError, match=r"t.baselines: 'x' needs a training side, and matching has none"):
        pipelines(question, {"x": lambda train, test: None})
