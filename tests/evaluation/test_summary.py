"""The tables of an evaluation, from results written by hand to numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from brainof.evaluation.entries import CLASSICAL, CONTROL, MODEL, RANDOM, Entry
from brainof.evaluation.folds import Split
from brainof.evaluation.matching import Matching, Segments
from brainof.evaluation.questions import Question
from brainof.evaluation.suite import SuiteTask
from brainof.evaluation.summary import (
    Pipeline,
    _cells,
    _interval,
    _over_initialisations,
    best_classical,
    chance,
    collect,
    moabb_table,
    random_of,
    summary,
)
from brainof.evaluation.units import ALL, NULL, Result, Unit, save, saved

NONE = np.zeros(0, int)


def question(y, groups, folds, classes=("rest", "task"), **changes) -> Question:
    """Rows in order; `folds` are (train, test) row numbers."""
    n = len(groups)
    index = pd.DataFrame({"dataset": "made", "subject": groups, "session": "1", "recording": groups, "onset": range(n)})
    index = index.assign(n_channels=4, n_times=8, crc32c=range(n), modality="eeg")
    task = {"name": "t", "recipe": "made/t", "view": "v", "label": "x", "repeats": 1, **changes}
    keys = np.array([f"made/{name}" for name in groups])
    splits = [Split(np.array(train), NONE, np.array(test)) for train, test in folds]
    y = np.array(y)
    return Question(SuiteTask.parse(task), None, np.arange(n), index, y, list(classes), keys, keys, splits)  # type: ignore[arg-type]


def entry(name: str, kind: str, **changes) -> Entry:
    return Entry(name, kind, lambda *_: np.zeros((1, 1)), **changes)


def states() -> Question:
    """Persons a, b, c, d with 4, 6, 4 and 4 windows, rest and task in turn; a and b are tested first."""
    groups = list("aaaabbbbbbccccdddd")
    rows = list(range(18))
    return question([row % 2 for row in rows], groups, [(rows[10:], rows[:10]), (rows[:10], rows[10:])])


def results(asked: Question, wrong: list[int], **about) -> dict[int, Result]:
    """Scores of the right sign but in the rows `wrong`."""
    scores = np.where(np.isin(np.arange(len(asked.y)), wrong), -1.0, 1.0) * (2 * asked.y - 1)
    parts = [{"time": 2.0, "n_train": 8, "n_features": 5}, {"time": 4.0, "n_train": 10, "n_features": 5}]
    return {
        number: Result(split.test, scores[split.test], {**parts[number], **about})
        for number, split in enumerate(asked.folds)
    }


def pipelines(asked: Question) -> list[Pipeline]:
    """A model, random weights of two seeds, features and chance."""
    model = Pipeline(asked, entry("m", MODEL, overlap=lambda _: (0, "")), "ridge", "plain")
    model.folds[0] = results(asked, [4, 14, 15], identity=0.5, identity_chance=0.25)
    model.null = Result(NONE, NONE, {"null": [0.8, 0.5, 0.6, 0.7, 0.9], "nuisance": [0.8, 0.9, 0.95, 0.7]})
    random = Pipeline(asked, entry("random weights", RANDOM), "ridge", "plain")
    random.folds[0] = results(asked, [0, 1, 4, 5, 14, 15])
    random.folds[1] = results(asked, [0, 1, 4, 5, 10, 11, 14, 15])
    features = Pipeline(asked, entry("f", CLASSICAL), "ridge", "recentred", unfinished=2, reason="why")
    features.folds[0] = results(asked, [])
    return [model, random, features, chance(asked)]


def test_a_line_of_the_summary_is_the_arithmetic_on_its_persons():
    """a and c are right, b misses one rest of three, d one of each: 1, 5/6, 1, 1/2; random weights 1/2, 2/3, 1 (1/2 by
    the other seed), 1/2."""
    lines = summary(pipelines(states())).set_index("entry")
    model = lines.loc["m"]
    assert model["score"] == pytest.approx((1 + 5 / 6 + 1 + 0.5) / 4)
    error = np.std([1, 5 / 6, 1, 0.5], ddof=1) / 2
    assert model["low"] == pytest.approx(model["score"] - 3.182446 * error, rel=1e-6)
    assert model["high"] == pytest.approx(model["score"] + 3.182446 * error, rel=1e-6)
    assert model["fold_score"] == pytest.approx((0.9 + 0.75) / 2)  # 4 of 5 rest and all task; 3 of 4 each
    assert (model["n_people"], model["n_seeds"], model["n_windows"], model["n_features"]) == (4, 1, 18, 5)
    assert (model["identity"], model["identity_chance"], model["chance"]) == (0.5, 0.25, 0.5)
    assert (model["task"], model["kind"], model["readout"], model["option"]) == ("t", "model", "ridge", "plain")
    assert (model["metric"], model["transductive"], model["unfinished"], model["reason"]) == (
        "balanced_accuracy",
        False,
        0,
        "",
    )
    assert (model["modality"], model["against"]) == ("eeg", "random weights")
    gains = np.array([0.5, 1 / 6, 0.25, 0])
    assert model["gain"] == pytest.approx(gains.mean())
    reach = 3.182446 * np.std(gains, ddof=1) / 2
    assert (model["gain_low"], model["gain_high"]) == pytest.approx((gains.mean() - reach, gains.mean() + reach))
    assert (model["wins"], model["losses"], model["gain_p_value"]) == (3, 0, 0.25)  # 2 of the 8 signs of three
    seeds = [(0.5 + 2 / 3 + 1 + 0.5) / 4, (0.5 + 2 / 3 + 0.5 + 0.5) / 4]
    any_network = _over_initialisations(gains.mean(), {"se": np.std(gains, ddof=1) / 2, "n_groups": 4}, seeds)
    assert (model["gain_low_any"], model["gain_high_any"]) == pytest.approx(any_network)
    assert model["null_95"] == pytest.approx(0.87)  # between 0.7 and 0.9, of four
    assert model["p_value"] == pytest.approx(2 / 5)  # 0.9 of four is as good
    assert model["nuisance_p_value"] == pytest.approx(3 / 4)
    assert model["nuisance_null_95"] == pytest.approx(0.945)
    random = lines.loc["random weights"]
    assert random["score"] == pytest.approx(np.mean(seeds))
    assert random["n_seeds"] == 2
    assert random[["gain", "p_value"]].isna().all()
    features = lines.loc["f"]
    assert (features["score"], features["transductive"], features["unfinished"], features["reason"]) == (
        1.0,
        True,
        2,
        "why",
    )
    assert np.isnan(features["gain"])  # nothing recentred of random weights
    assert (lines.loc["chance", "score"], lines.loc["chance", "kind"]) == (0.5, "chance")


def test_where_less_is_better_gains_and_nulls_turn_round():
    rows = list(range(6))
    asked = question(
        [0.0, 2, 4, 6, 8, 10], list("aabbcc"), [(rows[2:], rows[:2]), (rows[:2], rows[2:])], (), kind="regression"
    )

    def off(by: list[float], null=()) -> dict[int, Result]:
        predicted = asked.y + np.array(by)
        found = {n: Result(s.test, predicted[s.test], {}) for n, s in enumerate(asked.folds)}
        found[0].about["null"] = list(null)
        return found

    model = Pipeline(asked, entry("m", MODEL), "ridge", "plain")
    model.folds[0] = off([1, -1, 2, 2, 0, 0], [1.0, 0.5, 2.0, 3.0, 4.0])
    random = Pipeline(asked, entry("r", RANDOM), "ridge", "plain")
    random.folds[0] = off([2, -2, 3, 3, -3, 3])
    floor = chance(asked)
    assert [result.scores.tolist() for result in floor.folds[0].values()] == [[7, 7], [1, 1, 1, 1]]  # training means
    line = summary([model, random, floor]).set_index("entry").loc["m"]
    assert (line["metric"], line["score"], line["chance"]) == ("mae", 1.0, pytest.approx((6 + 4 + 8) / 3))
    assert line["gain"] == pytest.approx(5 / 3)
    assert (line["wins"], line["losses"]) == (3, 0)
    assert line["gain_low"] < line["gain"] < line["gain_high"]
    assert line["p_value"] == pytest.approx(2 / 5)  # 0.5 is as good
    assert line["null_95"] == pytest.approx(0.725)  # the 5th percentile
    assert np.isnan(line["gain_low_any"])  # one seed says nothing of others


def test_rows_of_persons_have_the_words_of_moabb():
    asked = states()
    asked.index.loc[10:13, "session"] = ["1", "2", "3", "3"]
    asked.index.loc[:9, "n_channels"] = 10
    table = moabb_table(pipelines(asked), "suite 1.0")
    assert len(table) == 4 * 5
    row = table.query("entry == 'm' and subject == 'b'").iloc[0].to_dict()
    assert row == {
        "score": pytest.approx(5 / 6),
        "time": 3.0,
        "samples": 9,
        "subject": "b",
        "session": "all",
        "channels": 10,
        "n_sessions": 3,
        "dataset": "made",
        "pipeline": "m | ridge | plain",
        "suite": "suite 1.0",
        "task": "t",
        "evaluation": "CrossSubject",
        "entry": "m",
        "kind": "model",
        "readout": "ridge",
        "option": "plain",
        "metric": "balanced_accuracy",
        "seed": 0,
        "transductive": False,
        "target_access": "train",
    }
    assert table.query("entry == 'random weights'")["seed"].tolist() == [0] * 4 + [1] * 4
    assert table.query("entry == 'f'")["transductive"].all()
    floor = table.query("entry == 'chance'").iloc[0]
    assert (floor["time"], floor["samples"]) == (0.0, 0)
    assert list(moabb_table([], "suite 1.0")) == list(table)[:9]


@pytest.mark.parametrize(("split", "name"), [("session", "CrossSession"), ("run", "WithinSession"), ("site", "site")])
def test_evaluations_have_the_names_of_moabb(split, name):
    asked = states()
    asked = replace(asked, task=asked.task.model_copy(update={"split": split}))
    assert set(moabb_table([chance(asked)], "s")["evaluation"]) == {name}


def test_a_published_split_inside_recordings_is_one_of_runs():
    asked = states()
    for by, name in (("trial", "WithinSession"), ("subject", "CrossSubject"), ("part", "CrossSubject")):
        split = {"by": by, "train": ["1"], "test": ["2"], "source": "none"}
        task = SuiteTask.parse({**asked.task.to_dict(), "published": True, "published_split": split})
        assert set(moabb_table([chance(replace(asked, task=task))], "s")["evaluation"]) == {name}


def test_a_model_that_saw_the_persons_is_transductive():
    asked = states()
    model = Pipeline(asked, entry("m", MODEL, overlap=lambda _: (2, "")), "ridge", "plain")
    model.folds[0] = results(asked, [])
    assert summary([model, chance(asked)])["transductive"].tolist() == [True, False]
    assert moabb_table([model], "s")["transductive"].all()


def test_what_was_not_run_is_a_line_without_numbers():
    asked = states()
    absent = Pipeline(asked, entry("m", MODEL), "ridge", "plain", reason="no head", unfinished=3)
    line = summary([absent, chance(asked)]).iloc[0]
    assert (line["reason"], line["unfinished"], line["chance"]) == ("no head", 3, 0.5)
    assert np.isnan(line["score"])


def test_chance_of_three_classes_is_the_largest_of_the_training_side():
    rows = list(range(6))
    folds = [(rows[2:], rows[:2]), (rows[:4], rows[4:])]
    floor = chance(question([2, 0, 0, 1, 1, 1], list("aabbcc"), folds, ("x", "y", "z")))
    np.testing.assert_allclose(floor.folds[0][0].scores, [[0.25, 0.75, 0]] * 2)
    np.testing.assert_allclose(floor.folds[0][1].scores, [[0.5, 0.25, 0.25]] * 2)
    floor = chance(question([1, 0, 0, 1, 1, 1], list("aabbcc"), folds))
    np.testing.assert_allclose(floor.folds[0][0].scores, [0.25] * 2)  # 3 of 4, less one half
    np.testing.assert_allclose(floor.folds[0][1].scores, [0.0] * 2)


def test_chance_of_matching_and_identification_is_one_over_their_number():
    film = question([], list("aabb"), [], kind="matching")
    film = replace(film, pairs=Segments({"r": np.array([[0, 1], [2, 3]])}, {"r": ["made/a", "made/b"]}))
    lines = summary([chance(film)])
    assert (lines["score"].item(), lines["n_people"].item(), lines["chance"].item()) == (0.5, 2, 0.5)
    who = question([], list("aabbcc"), [], kind="identification")
    pairs = Matching(np.arange(6), np.arange(3), np.arange(3, 6), np.array(["made/a", "made/b", "made/c"]))
    found = chance(replace(who, pairs=pairs))
    assert found.groups() == pytest.approx({"made/a": 1 / 3, "made/b": 1 / 3, "made/c": 1 / 3})
    assert found.folds.keys() == found.folds[0].keys() == {0}


def test_random_weights_are_read_out_as_the_model_was():
    asked = states()

    def one(name, kind, readout="ridge", option="plain", done=True):
        made = Pipeline(asked, entry(name, kind), readout, option)
        if done:
            made.folds[0] = results(asked, [])
        return made

    ridge, centred = one("r", RANDOM), one("r", RANDOM, option="centred")
    full, empty = one("r", RANDOM, "full"), one("r", RANDOM, "attentive", done=False)
    own = [ridge, centred, full, empty, chance(asked)]
    assert random_of(one("m", MODEL), own) is ridge
    assert random_of(one("m", MODEL, option="centred"), own) is centred
    assert random_of(one("m", MODEL, "full"), own) is full
    assert random_of(one("m", MODEL, "attentive"), own) is None  # not on disk
    assert random_of(one("f", CLASSICAL, option="equal"), own) is ridge
    assert random_of(one("f", CLASSICAL, "own"), own) is ridge
    assert random_of(one("f", CONTROL, option="erased"), own) is None
    assert random_of(ridge, own) is None
    assert random_of(own[-1], own) is None


def test_units_on_disk_become_pipelines(tmp_path):
    asked = states()
    model = entry("m", MODEL)
    found = list(results(asked, [4]).values())
    kept = Unit(asked, model, "ridge", "plain", 0, ALL)
    null = Unit(asked, model, "ridge", "plain", 0, NULL, permutations=2)
    later = Unit(asked, model, "ridge", "plain", 1, ALL)
    fold = [Unit(asked, model, "full", "plain", 3, number) for number in (0, 1)]
    refused = Unit(asked, entry("x", MODEL), "ridge", "plain", 0, ALL)
    save(kept, found, tmp_path)
    save(null, [Result(NONE, np.zeros(0), {"null": [0.5, 0.4, 0.6]})], tmp_path)
    save(fold[1], [found[1]], tmp_path)
    save(refused, found, tmp_path)
    units = [kept, null, later, *fold, refused]
    made = collect({unit: "no" if unit is refused else saved(unit, tmp_path) for unit in units})
    assert [(p.entry.name, p.readout, p.unfinished, p.reason) for p in made] == [
        ("m", "ridge", 1, ""),
        ("m", "full", 1, ""),
        ("x", "ridge", 1, "no"),
        ("chance", "chance", 0, ""),
    ]
    assert {seed: sorted(folds) for seed, folds in made[0].folds.items()} == {0: [0, 1]}
    assert {seed: sorted(folds) for seed, folds in made[1].folds.items()} == {3: [1]}
    assert made[0].null is not None
    assert made[0].null.about["null"] == [0.5, 0.4, 0.6]
    for result, expected in zip(made[0].folds[0].values(), found, strict=True):
        np.testing.assert_array_equal(result.rows, expected.rows)
        np.testing.assert_array_equal(result.scores, expected.scores)
        assert result.about == expected.about
    assert not made[2].folds


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"fold": 0},
        {"width": 3},
        {"permutations": 5},
        {"option": "centred"},
        {"readout": "logistic"},
        {"entry": entry("other", MODEL)},
        {"entry": entry("m", MODEL, digest="weights")},
    ],
)
def test_a_unit_is_computed_again_where_anything_of_it_changes(tmp_path, change):
    asked = states()
    unit = Unit(asked, entry("m", MODEL), "ridge", "plain", 0, ALL)
    save(unit, list(results(asked, []).values()), tmp_path)
    assert saved(unit, tmp_path) is not None
    other = replace(unit, **change)
    assert other.digest != unit.digest
    unit.path(tmp_path).replace(tmp_path / "file")
    other.path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "file").replace(other.path(tmp_path))
    assert saved(other, tmp_path) is None


@pytest.mark.parametrize("what", ["y", "onset", "recording", "crc32c", "train", "test", "task"])
def test_a_question_is_another_where_anything_of_it_changes(what):
    asked, other = states(), states()
    if what == "y":
        other.y[3] = 0
    elif what == "task":
        other = replace(other, task=other.task.model_copy(update={"repeats": 2}))
    elif what in ("train", "test"):
        rows = list(range(18))
        train, test = (rows[11:], rows[:10]) if what == "train" else (rows[10:], rows[:9])
        other = replace(other, folds=[Split(np.array(train), NONE, np.array(test)), other.folds[1]])
    else:
        other.index[what] = other.index[what].astype(object)
        other.index.loc[2, what] = "99"
    assert asked.digest == states().digest != other.digest


def test_intervals_are_students():
    assert _interval(1.0, 0.5, 4) == pytest.approx((1 - 1.591223, 1 + 1.591223), rel=1e-6)
    assert all(map(np.isnan, _interval(1.0, 0.5, 1)))
    assert all(map(np.isnan, _interval(1.0, np.nan, 4)))
    assert np.isfinite(_interval(1.0, 0.5, 2)).all()


def test_another_initialisation_adds_its_variance_by_welch_and_satterthwaite():
    """Persons: variance of the mean 0.01, 3 degrees of freedom; networks: 0.02 (1 + 1/2) = 0.03 and one degree."""
    low, high = _over_initialisations(0.2, {"se": 0.1, "n_groups": 4}, [0.5, 0.7])
    freedom = 0.04**2 / (0.01**2 / 3 + 0.03**2 / 1)
    assert freedom == pytest.approx(1.714286, rel=1e-6)
    assert (high + low) / 2 == pytest.approx(0.2)
    assert (high - low) / 2 == pytest.approx(student.ppf(0.975, freedom) * 0.2)
    equal = _over_initialisations(0.2, {"se": 0.1, "n_groups": 4}, [0.5, 0.5])
    assert equal == pytest.approx(_interval(0.2, 0.1, 4))  # networks that do not differ
    assert equal[0] < 0.2 < equal[1]
    for scores, people in (([0.5], 4), ([0.5, 0.6], 1)):
        assert all(map(np.isnan, _over_initialisations(0.2, {"se": 0.1, "n_groups": people}, scores)))


def test_the_best_classical_is_named_by_its_metric():
    table = pd.DataFrame(
        [
            ("t", "a", "classical", "ridge", "plain", "mae", 2.0, False),
            ("t", "b", "classical", "ridge", "equal", "mae", 1.0, False),
            ("t", "c", "classical", "ridge", "recentred", "mae", 0.5, True),
            ("t", "m", "model", "ridge", "plain", "mae", 0.1, False),
            ("t", "e", "classical", "ridge", "plain", "mae", np.nan, False),
            ("u", "a", "classical", "ridge", "plain", "roc_auc", 0.6, False),
            ("u", "b", "classical", "logistic", "plain", "roc_auc", 0.7, False),
        ],
        columns=["task", "entry", "kind", "readout", "option", "metric", "score", "transductive"],
    )
    assert best_classical(table, "t") == "b (ridge, equal)"
    assert best_classical(table, "u") == "b (logistic, plain)"
    assert best_classical(table, "w") is None
    assert best_classical(table.drop(columns="score"), "t") is None


def test_a_row_of_the_page_is_the_line_of_the_summary():
    def row(line: dict) -> str:
        return "| " + " | ".join(_cells(line)) + " |"

    line = {
        "entry": "m",
        "kind": MODEL,
        "readout": "ridge",
        "option": "plain",
        "unfinished": 0,
        "transductive": False,
        "gain": 0.1,
        "gain_low": -0.05,
        "gain_high": 0.25,
        "gain_low_any": -0.1,
        "gain_high_any": 0.3,
        "score": 0.7,
        "low": 0.6,
        "high": 0.8,
        "null_95": 0.55,
        "p_value": 0.01,
        "nuisance_p_value": 0.2,
        "identity": 0.4,
        "identity_chance": 0.125,
        "reason": "",
    }
    assert row(line) == (
        "| **m** | ridge | plain | +0.100 [-0.050, +0.250] | [-0.100, +0.300] | 0.700 [0.600, 0.800] | 0.550 "
        "| 0.010 (0.200) | 0.400 (0.125) |  |"
    )
    line |= {"kind": CLASSICAL, "nuisance_p_value": np.nan, "identity": None, "gain_low_any": np.nan, "low": np.nan}
    assert row({**line, "transductive": True}) == (
        "| m | ridge | plain | +0.100 [-0.050, +0.250] |  | 0.700 | 0.550 | 0.010 |  | transductive |"
    )
    bare = {"entry": "m", "kind": MODEL, "readout": "ridge", "option": "plain", "transductive": True}
    assert row({**bare, "unfinished": 2, "reason": ""}).endswith(
        "|  |  |  |  |  |  | transductive; 2 runs unfinished |"
    )
    assert row({**bare, "unfinished": 2, "reason": "a|b"}).endswith("| transductive; a/b |")
    floor = {**line, "kind": "chance", "low": 0.6, "gain": np.nan}
    assert "| 0.700 |" in row(floor)


def test_a_model_is_held_against_random_weights_of_its_own_architecture():
    asked = states()

    def one(name, kind, architecture):
        made = Pipeline(asked, entry(name, kind, architecture=architecture), "ridge", "plain")
        made.folds[0] = results(asked, [])
        return made

    small, large = one("random weights (as a)", RANDOM, "small"), one("random weights (as b)", RANDOM, "large")
    assert random_of(one("b", MODEL, "large"), [small, large]) is large
    assert random_of(one("a", MODEL, "small"), [small, large]) is small
    assert random_of(one("c", MODEL, "other"), [small, large]) is None
    assert random_of(one("f", CLASSICAL, ""), [small, large]) is small
