"""The plan of an evaluation, and what a unit finds, by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import OAS

from brainof.errors import ConfigError, LabelError, StorageError
from brainof.evaluation import bench, entries, units
from brainof.evaluation.entries import CLASSICAL, CONTROL, MODEL, NETWORK, RANDOM, Entry, label_features
from brainof.evaluation.folds import Split
from brainof.evaluation.matching import Matching, Segments
from brainof.evaluation.questions import Question, _repeats
from brainof.evaluation.suite import SuiteTask
from brainof.evaluation.transforms import both_sides, centred, equal_dimension, erased
from brainof.evaluation.units import (
    ALL,
    NULL,
    OWN,
    Unit,
    identity,
    options_of,
    plan,
    readouts_of,
    run_unit,
)
from brainof.stats.ridge import RidgeSolver, classify
from brainof.stats.splits import CrossSubject

NONE = np.zeros(0, int)


def question(n_people=4, each=6, **changes) -> Question:
    """People of one recording each, labels in turn, two folds."""
    people = np.repeat([f"p{i}" for i in range(n_people)], each)
    n = len(people)
    index = pd.DataFrame({"dataset": "made", "subject": people, "session": "1", "recording": people})
    index = index.assign(onset=np.arange(n, dtype=float), crc32c=np.arange(n), n_channels=2, n_times=8, modality="eeg")
    values = {"name": "t", "recipe": "made/t", "view": "v", "label": "x", "repeats": 1, "n_splits": 2}
    task = SuiteTask.parse({**values, **changes})
    y = np.arange(n) % 2 if task.kind == "classification" else np.arange(n, dtype=float)
    keys = np.char.add("made/", people)
    folds = [Split(train, NONE, test) for train, test in CrossSubject(2).split(groups=keys)]
    classes = ["a", "b"] if task.kind == "classification" else []
    return Question(task, None, np.arange(n), index, y, classes, keys, keys, folds)  # type: ignore[arg-type]


def entry(name="m", kind=MODEL, features=None, **changes) -> Entry:
    return Entry(name, kind, lambda *_: features, **changes)


def planned(asked, entries, seeds=2, permutations=9, width=3):
    return [
        (unit.entry.name, unit.readout, unit.option, unit.seed, unit.fold, unit.width, unit.permutations)
        for unit in plan(asked, entries, seeds, permutations, width)
    ]


def test_the_plan_lists_every_readout_option_seed_and_fold():
    asked = question(readouts=["ridge", "lora"], options=["centred"])
    assert planned(asked, [entry(), entry("r", RANDOM, seeds=2), entry("f", CLASSICAL), entry("c", CONTROL)]) == [
        ("m", "ridge", "plain", 0, ALL, 3, 0),
        ("m", "ridge", "plain", 0, NULL, 3, 9),
        ("m", "ridge", "centred", 0, ALL, 3, 0),
        *(("m", "lora", "plain", seed, fold, 3, 0) for seed in (0, 1) for fold in (0, 1)),
        ("r", "ridge", "plain", 0, ALL, 3, 0),
        ("r", "ridge", "plain", 1, ALL, 3, 0),
        ("r", "ridge", "plain", 0, NULL, 3, 9),
        ("r", "ridge", "centred", 0, ALL, 3, 0),
        ("r", "ridge", "centred", 1, ALL, 3, 0),
        *(("r", "lora", "plain", seed, fold, 3, 0) for seed in (0, 1) for fold in (0, 1)),
        ("f", "ridge", "plain", 0, ALL, 3, 0),
        ("f", "ridge", "plain", 0, NULL, 3, 9),
        ("f", "ridge", "centred", 0, ALL, 3, 0),
        ("f", "ridge", "equal", 0, ALL, 3, 0),
        ("f", "ridge", "equal", 0, NULL, 3, 9),
        ("c", "ridge", "plain", 0, ALL, 3, 0),
        ("c", "ridge", "plain", 0, NULL, 3, 9),
    ]


def test_a_second_readout_has_no_options_and_no_null_of_its_own():
    asked = question(readouts=["ridge", "logistic"], options=["erased"], equal=False)
    assert planned(asked, [entry()]) == [
        ("m", "ridge", "plain", 0, ALL, 3, 0),
        ("m", "ridge", "plain", 0, NULL, 3, 9),
        ("m", "ridge", "erased", 0, ALL, 3, 0),
        ("m", "logistic", "plain", 0, ALL, 3, 0),
    ]
    assert not [unit for unit in planned(asked, [entry("f", CLASSICAL)]) if unit[2] == "equal"]
    assert not [unit for unit in planned(asked, [entry()], permutations=0) if unit[4] == NULL]
    own = question(permutations=4)
    assert [unit[6] for unit in planned(own, [entry()]) if unit[4] == NULL] == [4]


def test_networks_have_a_unit_per_fold_and_a_readout_of_its_own_has_one():
    asked = question(readouts=["ridge"], options=["centred"])
    assert planned(asked, [entry("own", CLASSICAL, own=lambda *_: None)]) == [("own", OWN, "plain", 0, ALL, 3, 0)]
    assert planned(asked, [entry("net", NETWORK)]) == [
        ("net", "full", "plain", seed, fold, 3, 0) for seed in (0, 1) for fold in (0, 1)
    ]


def test_each_seed_of_fractions_has_a_fold_of_its_own():
    asked = question(readouts=["lora"], fractions=[2, 1, 1])
    assert planned(asked, [entry()], seeds=3) == [("m", "lora", "plain", seed, seed, 3, 0) for seed in (0, 1)]


def test_what_trains_nothing_is_matched_raw_and_recentred():
    asked = question(kind="matching")
    assert planned(asked, [entry("r", RANDOM, seeds=2)]) == [
        ("r", "match", option, seed, ALL, 0, 9) for option in ("plain", "recentred") for seed in (0, 1)
    ]


def test_readouts_suit_what_is_read_out():
    assert readouts_of(entry(), ["lora", "ridge"]) == ["lora", "ridge"]
    assert readouts_of(entry(kind=NETWORK), ["ridge"]) == ["full"]
    assert readouts_of(entry(kind=CLASSICAL), ["second_order", "logistic", "ridge"]) == ["logistic", "ridge"]
    assert readouts_of(entry(kind=CLASSICAL), ["lora"]) == ["ridge"]
    assert readouts_of(entry(kind=CONTROL), ["logistic", "ridge"]) == ["logistic"]
    assert readouts_of(entry(kind=CONTROL), ["attentive"]) == ["ridge"]
    with pytest.raises(ConfigError, match="unknown read-out 'rigde'; known: ridge, logistic, second_order, attentive"):
        readouts_of(entry(), ["rigde"])
    task = question(options=["erased"]).task
    assert options_of(entry(kind=CONTROL), "ridge", task, 3) == ["plain"]
    assert options_of(entry(), "lora", task, 3) == ["plain"]
    assert options_of(entry(kind=CLASSICAL), "ridge", task, 0) == ["plain", "erased"]
    assert options_of(entry(kind=CLASSICAL), "logistic", task, 3) == ["plain", "equal"]


def test_units_that_use_the_same_features_are_one_share():
    asked = question(readouts=["ridge", "logistic", "lora"])
    shares = Counter(unit.share for unit in plan(asked, [entry("r", RANDOM, seeds=2)], 1, 9, 3))
    assert shares == {
        ("t", "r", 0): 3,  # both read-outs and the null
        ("t", "r", 1): 2,
        **{("t", "r", seed, "lora", fold): 1 for seed in (0, 1) for fold in (0, 1)},
    }


def test_parts_take_their_shares_in_turn(tmp_path, monkeypatch):
    asked = question(readouts=["ridge", "logistic"])
    found = [unit for seed in range(5) for unit in plan(asked, [entry(str(seed))], 1, 0, 0)]
    done: list[str] = []
    monkeypatch.setattr(bench, "run_unit", lambda unit, cache: done.append(unit.entry.name))
    monkeypatch.setattr(bench, "save", lambda *_: None)
    said: list[str] = []
    for part, names in (((1, 2), "002244"), ((2, 2), "1133"), ((1, 1), "0011223344")):
        done.clear()
        assert bench.run(found, tmp_path, part, said.append) == {}
        assert "".join(done) == names
        assert said[-1] == f"{len(names)} runs, 0 of them on disk or refused"
    refusing = [replace(unit, entry=entry(unit.entry.name, refused=lambda _: "no")) for unit in found[:2]]
    reasons = bench.run([*refusing, *found[2:]], tmp_path, (2, 2), said.append)
    assert set(reasons) == {str(unit.path(tmp_path)) for unit in refusing}  # of other parts, too

    def breaking(unit, cache):
        if unit.readout == "logistic":
            raise ConfigError("broke")

    monkeypatch.setattr(bench, "run_unit", breaking)
    reasons = bench.run(found, tmp_path, (1, 1), said.append)
    assert set(reasons.values()) == {"broke"}
    assert len(reasons) == 5


def test_paths_name_pipeline_seed_and_fold():
    asked = question()
    unit = Unit(asked, entry("a b/c"), "ridge", "plain", 3, ALL)
    assert unit.path(Path("o")) == Path("o/runs/t/a-b-c__ridge__plain/seed-3_folds.npz")
    assert replace(unit, fold=NULL).path(Path("o")).name == "seed-3_null.npz"
    assert replace(unit, fold=2).path(Path("o")).name == "seed-3_fold-2.npz"


def test_scores_of_a_unit_are_the_readout_fold_by_fold():
    asked = question()
    X = np.random.default_rng(0).standard_normal((24, 3)).astype(np.float32)
    X[:, 0] += 2 * asked.y
    cache: dict = {}
    found = run_unit(Unit(asked, entry(features=X), "ridge", "plain", 0, ALL), cache)
    assert len(found) == 2
    for result, split in zip(found, asked.folds, strict=True):
        solver = RidgeSolver(X[split.train].astype(float), asked.groups[split.train])
        expected = classify(solver, asked.y[split.train][:, None], 2, X[split.test].astype(float))[:, 0, 0]
        np.testing.assert_array_equal(result.rows, split.test)
        np.testing.assert_allclose(result.scores, expected)
        assert (result.about["n_train"], result.about["n_features"]) == (12, 3)
        assert 0 <= result.about["time"] < 5
        assert result.about["identity_chance"] == 0.5
    assert list(cache) == [("t", "m", 0, "")]
    (null,) = run_unit(Unit(asked, entry(features=X), "ridge", "plain", 0, NULL, permutations=3), cache)
    assert len(null.about["null"]) == 4
    labellings = asked.labellings(3)
    values = []
    for split in asked.null_folds():
        solver = RidgeSolver(X[split.train].astype(float), asked.groups[split.train])
        scores = classify(solver, labellings[split.train], 2, X[split.test].astype(float))[:, :, 0]
        values.append([asked.measure(labellings[split.test, c], scores[:, c], split.test) for c in range(4)])
    np.testing.assert_allclose(null.about["null"], np.mean(values, axis=0))
    assert "nuisance" not in null.about


def test_people_are_told_apart_by_the_halves_of_their_windows():
    """Three people with four windows (the first two against the last two) and one with a single window."""
    asked = question(n_people=4, each=4)
    asked.index["onset"] = np.tile([3.0, 2, 1, 0], 4)  # rows run against the time
    own = np.eye(3)
    X = np.zeros((16, 3))
    for person in range(3):
        X[4 * person : 4 * person + 4] = own[person]
    rows = np.arange(13)
    assert identity(X[rows], asked, rows) == (1.0, pytest.approx(1 / 3))
    swapped = X.copy()
    swapped[[0, 1]], swapped[[4, 5]] = own[1], own[0]  # the late halves of the first two
    assert identity(swapped[rows], asked, rows)[0] == pytest.approx(1 / 3)
    gaps = X.copy()
    gaps[0], gaps[1] = 2 * own[0], np.nan  # what is missing counts as zero
    assert identity(gaps[rows], asked, rows)[0] == 1.0
    assert identity(X[:5], asked, np.arange(5)) == (None, None)  # one person with more than one window
    few = np.array([0, 3, 4, 7])
    assert identity(X[few], asked, few) == (1.0, 0.5)


def test_matching_and_identification_are_hits_of_people():
    X = np.random.default_rng(0).standard_normal((3, 5))
    of = Segments({"r": np.arange(9).reshape(3, 3)}, {"r": ["made/p0", "made/p1", "made/p2"]})
    film = replace(question(3, 3, kind="matching"), pairs=of)
    (found,) = run_unit(Unit(film, entry(features=np.tile(X, (3, 1))), "match", "plain", 0, ALL, permutations=3), {})
    assert found.about["hits"] == {"made/p0": 1.0, "made/p1": 1.0, "made/p2": 1.0}
    assert len(found.about["null"]) == 4
    assert found.about["null"][0] == 1.0
    assert (found.about["n_features"], found.about["n_train"]) == (5, 0)
    rows, names = of.rows["r"], of.subjects["r"]
    people = {"r": names[:2], "s": names[1:]}
    other = Segments({"r": rows[:2], "s": rows[1:]}, people, frozenset({"made/p0"}))
    some = replace(film, pairs=other)
    (few,) = run_unit(Unit(some, entry(features=np.tile(X, (3, 1))), "match", "plain", 0, ALL, permutations=3), {})
    assert few.about["hits"] == {"made/p0": 1.0}  # run s holds nobody who is scored
    assert len(few.about["null"]) == 4
    (later,) = run_unit(Unit(film, entry(features=np.tile(X, (3, 1))), "match", "plain", 1, ALL, permutations=3), {})
    assert later.about["null"] == []  # the null is made for the first seed
    who = question(3, 2, kind="identification")
    pairs = Matching(np.arange(6), np.array([0, 2, 4]), np.array([1, 3, 5]), np.array(list("abc")))
    swapped = X[[0, 0, 1, 2, 2, 1]]  # the last session of b is like the first of c, and the other way round
    who = replace(who, pairs=pairs)
    (found,) = run_unit(Unit(who, entry(features=swapped), "match", "plain", 0, ALL), {})
    assert found.about["hits"] == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert found.about["null"] == []
    with pytest.raises(ConfigError, match="'m' needs a training side, and identification has none; use 'log cov"):
        run_unit(Unit(who, entry(features=lambda train, test: None), "match", "plain", 0, ALL), {})


def test_what_cannot_be_done_is_a_reason_and_a_full_disk_ends(tmp_path):
    def raising(error):
        def features(*_):
            raise error

        return Unit(question(), Entry("m", MODEL, features), "ridge", "plain", 0, ALL)

    def reasons(unit):
        return list(bench.run([unit], tmp_path, (1, 1), lambda _: None).values())

    assert reasons(raising(LabelError("no such label"))) == ["no such label"]
    with pytest.raises(StorageError):
        reasons(raising(StorageError("full")))
    X = np.random.default_rng(0).standard_normal((24, 2))
    unit = Unit(question(), entry(features=X), "ridge", "plain", 0, ALL)
    assert reasons(unit) == []
    assert len(units.saved(unit, tmp_path) or ()) == 2


def test_repeats_are_put_together_until_they_hold_all_rows():
    parts = [(np.array(rows), np.array(rows) * 0.5) for rows in ([0, 1], [2], [2, 0], [1])]
    found = _repeats(parts, 3)
    assert [rows.tolist() for rows, _ in found] == [[0, 1, 2], [2, 0, 1]]
    assert [scores.tolist() for _, scores in found] == [[0, 0.5, 1], [1, 0, 0.5]]
    assert _repeats(parts[:1], 3) == parts[:1]  # a test side that does not hold all


def test_labels_are_features_as_numbers_or_columns():
    index = pd.DataFrame({"label.age": ["20", "", "31.5"], "label.site": ["x", "y", None], "label.no": [None] * 3})
    asked = replace(question(), index=index)
    np.testing.assert_array_equal(label_features("age", asked), [[20], [np.nan], [31.5]])
    np.testing.assert_array_equal(label_features("site", asked), [[1, 0], [0, 1], [0, 0]])
    with pytest.raises(LabelError, match=r"t.controls: the corpus has no label 'sit'; did you mean 'site'"):
        label_features("sit", asked)


def test_the_null_has_folds_that_know_no_labels_where_those_of_the_task_are_stratified():
    asked = question()  # labels change inside people: the folds are not stratified
    assert asked.null_folds() is asked.folds
    person = np.repeat([0, 1, 0, 1], 6)
    stratified = replace(asked, y=person)
    found = stratified.null_folds()
    expected = list(CrossSubject(2, 1, 0).split(groups=asked.groups))
    assert [split.test.tolist() for split in found] == [test.tolist() for _, test in expected]
    assert [split.train.tolist() for split in found] == [train.tolist() for train, _ in expected]
    assert all(len(split.validation) == 0 for split in found)
    alone = replace(stratified, task=stratified.task.model_copy(update={"n_splits": None}))
    assert len(alone.null_folds()) == 4
    files = replace(stratified, task=stratified.task.model_copy(update={"split_file": "x"}))
    assert files.null_folds() is files.folds


def test_options_are_those_of_their_names_fitted_on_the_training_side():
    """Thirty features of twelve training rows; components are compared by products, which know no rotation."""
    asked = question(options=["erased", "centred"])
    X = np.random.default_rng(0).standard_normal((24, 30)).astype(np.float32)
    split = asked.folds[0]
    train, test = X[split.train].astype(float), X[split.test].astype(float)

    def of(option, width):
        return both_sides(X, split.train, split.test, asked.groups, option, width)

    centre = train - train.mean(axis=0)
    axes = np.linalg.svd(centre, full_matrices=False)[2][:4].T
    inside, outside = of("equal", 4)
    assert inside.shape == (12, 4)
    np.testing.assert_allclose(inside @ inside.T, centre @ axes @ axes.T @ centre.T, atol=1e-8)
    np.testing.assert_allclose(outside @ inside.T, (test - train.mean(axis=0)) @ axes @ axes.T @ centre.T, atol=1e-8)
    people = asked.groups[split.train]
    for found, expected in zip(of("centred", 4), centred(train, test, people), strict=True):
        np.testing.assert_allclose(found, expected)
    for width in (0, 4):  # without a width of the model's, 256
        reduced = equal_dimension(train, test, width or 256)
        for found, expected in zip(of("erased", width), erased(*reduced, people), strict=True):
            np.testing.assert_allclose(found, expected)
    for found, expected in zip(of("plain", 4), (train, test), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_features_that_see_the_test_side_are_not_read_out():
    X = np.random.default_rng(0).standard_normal((24, 3))
    unit = Unit(
        question(), entry(features=lambda train, test: (X[train], X[test] - X[test].mean(0))), "ridge", "plain", 0, ALL
    )
    with pytest.raises(LabelError, match="change with the rows of the test side"):
        run_unit(unit, {})
    fair = Unit(
        question(), entry(features=lambda train, test: (X[train], X[test] - X[train].mean(0))), "ridge", "plain", 0, ALL
    )
    assert len(run_unit(fair, {})) == 2


def test_a_baseline_with_a_readout_of_its_own_is_read_by_it():
    asked, X, seen = question(), np.random.default_rng(0).standard_normal((24, 3)), []
    brings = entry(features=X, own=lambda *given: seen.append(given) or given[3].mean(1))
    found = run_unit(Unit(asked, brings, OWN, "plain", 0, ALL), {})
    for result, given, split in zip(found, seen, asked.folds, strict=True):
        wanted = (X[split.train], asked.y[split.train], asked.groups[split.train], X[split.test])
        for value, expected in zip(given, wanted, strict=False):
            np.testing.assert_array_equal(value, expected)
        assert given[4] == 2
        np.testing.assert_array_equal(result.scores, X[split.test].mean(1))
        assert result.about["n_train"] == len(split.train)


def test_second_order_features_are_covariances_over_the_latents_of_each_window(monkeypatch):
    """Five windows in chunks of two; 4 latents of 3 features."""
    latents = np.random.default_rng(0).standard_normal((9, 4, 3)).astype(np.float32)
    asked = replace(question(), rows=np.array([8, 1, 2, 7, 4]))
    chunks = []

    def embed(corpus, model, *, contract, rows, pool):
        assert pool == "concat"
        chunks.append(len(rows))
        return SimpleNamespace(values=latents[rows].reshape(len(rows), 12))

    monkeypatch.setattr(entries, "embed", embed)
    monkeypatch.setattr(entries, "CHUNK", 2)
    found = entries._latent_covariances(asked, SimpleNamespace(latents_LD=np.zeros((4, 3))))
    assert chunks == [2, 2, 1]
    expected = [OAS().fit(latents[row]).covariance_ for row in asked.rows]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
