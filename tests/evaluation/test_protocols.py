"""Folds, leak checks, options and matching, on small made-up tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from brainof.channels import Channels
from brainof.datasets import find_recipe
from brainof.datasets.recipe import Overlap
from brainof.errors import ConfigError, LabelError
from brainof.evaluation import evaluate_task, find_suite, leaks
from brainof.evaluation.folds import Split, splits
from brainof.evaluation.leaks import check_inductive, pretraining_overlap
from brainof.evaluation.matching import hit_rates, matched, matching_null, segments
from brainof.evaluation.protocol import Task, targets, task_windows
from brainof.evaluation.questions import ask
from brainof.evaluation.suite import SuiteTask
from brainof.evaluation.summary import _over_initialisations
from brainof.evaluation.transforms import SecondOrder, centred, equal_dimension, erased, leace
from brainof.stats.compare import paired
from brainof.stats.metrics import balanced_accuracy
from brainof.stats.ridge import recentre


def index_of(subjects, **columns) -> pd.DataFrame:
    n = len(subjects)
    base = {"dataset": "made", "subject": subjects, "session": None, "task": "t", "run": "1", "recording": subjects}
    base |= {"onset": np.arange(n, dtype=float), "crc32c": np.arange(n), "n_channels": 2, "n_times": 8, "view": "v"}
    return pd.DataFrame({**base, **columns})


def task(**changes) -> SuiteTask:
    return SuiteTask.parse({"name": "t", "recipe": "made/t", "view": "v", "label": "x", "repeats": 1, **changes})


# Published splits, on small copies of the datasets


def test_seed_v_is_split_by_trials_five_to_five_to_five():
    asked = find_suite("brainof-bench").tasks["seed_v"].resolved(find_recipe("seed_v"))
    subjects, trials = np.repeat(["a", "b"], 30), np.tile(np.repeat(np.arange(1, 16), 2), 2).astype(str)
    index = index_of(subjects, **{"label.trial": trials, "label.emotion": np.tile(list("hsdfn"), 12)})
    _, (split,) = splits(index, asked, np.unique(index["label.emotion"], return_inverse=True)[1])
    for side, numbers in zip(split, (range(1, 6), range(6, 11), range(11, 16)), strict=True):
        assert set(trials[side]) == {str(number) for number in numbers}
        assert set(subjects[side]) == {"a", "b"}


def test_chb_mit_is_split_by_patients():
    asked = find_suite("brainof-bench").tasks["chb_mit"].resolved(find_recipe("chb_mit"))
    subjects = np.repeat([f"{number:02d}" for number in range(1, 25)], 2)
    index = index_of(subjects, **{"label.state": np.tile(["seizure", "background"], 24)})
    _, (split,) = splits(index, asked, np.tile([1, 0], 24))
    sides = [sorted(set(subjects[side].astype(int))) for side in split]
    assert sides == [list(range(1, 21)), [21, 22], [23, 24]]


def test_tuab_is_split_by_its_official_parts():
    asked = find_suite("brainof-bench").tasks["tuab"].resolved(find_recipe("tuab"))
    part = np.repeat(["train", "eval"], [12, 6])
    index = index_of([f"{n:02d}" for n in range(18)], **{"label.part": part})
    _, (split,) = splits(index, asked, np.arange(18) % 2)
    assert (set(part[split.train]), len(split.validation), set(part[split.test])) == ({"train"}, 0, {"eval"})


def test_unpublished_splits_are_drawn_anew_for_each_seed():
    asked = find_suite("brainof-bench").tasks["adni"].resolved(find_recipe("adni"))
    subjects = np.repeat([f"{n:02d}" for n in range(20)], 2)
    groups, found = splits(index_of(subjects), asked, np.tile([0, 1], 20), seeds=5)
    assert [tuple(len(np.unique(groups[side])) for side in split) for split in found] == [(14, 2, 4)] * 5
    assert len({tuple(split.test) for split in found}) == 5
    for split in found:
        assert not set(groups[split.train]) & set(groups[split.validation]) | set(groups[split.train]) & set(
            groups[split.test]
        )


def test_a_person_and_a_run_are_held_out_together():
    subjects, runs = np.repeat(["a", "b", "c", "d"], 8), np.tile(np.repeat(["1", "2", "3", "4"], 2), 4)
    _, found = splits(index_of(subjects, run=runs), task(kind="regression", also="run", n_splits=4), np.arange(32.0))
    assert len(found) == 16
    for split in found:
        assert not set(subjects[split.train]) & set(subjects[split.test])
        assert not set(runs[split.train]) & set(runs[split.test])
        assert len(split.train) == 18
    assert sorted(np.concatenate([split.test for split in found])) == list(range(32))


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"train": ["a", "bb"], "test": ["c"]}, "splits.json.train: names 'bb', which is not here"),
        ({"train": ["a", "b"], "test": ["b"]}, "'b' is on both sides"),
        ({"train": ["a"], "test": []}, "one side of fold 0 is empty"),
        ({"train": ["a"], "test": ["c"]}, "fold 0 trains on one class only"),
    ],
)
def test_a_split_file_that_does_not_fit_is_named(tmp_path, sides, message):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([sides]))
    with pytest.raises(LabelError, match=message):
        splits(index_of(["a", "b", "c", "d"]), task(split_file=str(path)), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("wrong", ["inf", "nan"])
def test_targets_that_are_not_finite_are_named(wrong):
    index = index_of(["a", "b"], **{"label.x": ["1.5", wrong]})
    with pytest.raises(LabelError, match="1 targets are not finite, the first in b at 1 s"):
        targets(index, task(kind="regression"))


# Leaks


def test_a_window_on_both_sides_is_refused(rest_and_task):
    corpus = rest_and_task(n_people=4)
    corpus.index["crc32c"] = np.arange(len(corpus.index))
    asked = task(view="pretrain", label="condition", n_splits=2)
    assert len(ask(asked, corpus).folds) == 2
    corpus.index.loc[40, "crc32c"] = corpus.index.loc[3, "crc32c"]
    with pytest.raises(LabelError, match="duplicates: the window of 0[0-3]-.* is that of .*both sides of fold"):
        ask(asked, corpus)
    left = sorted({corpus.index["subject"][40], corpus.index["subject"][3]})
    without = ask(asked.model_copy(update={"leave_out": tuple(left)}), corpus)
    assert set(without.index["subject"]) == {"00", "01", "02", "03"} - set(left)
    with pytest.raises(LabelError, match="t.leave_out: no subject '04'; did you mean"):
        ask(asked.model_copy(update={"leave_out": ("04",)}), corpus)


def test_features_fitted_on_test_people_are_refused():
    X, split = (
        np.random.default_rng(0).standard_normal((20, 3)),
        Split(np.arange(12), np.zeros(0, int), np.arange(12, 20)),
    )

    def leaky(train, test):
        both = X[np.r_[train, test]]
        return tuple((X[rows] - both.mean(axis=0)) / both.std(axis=0) for rows in (train, test))

    def honest(train, test):
        return tuple((X[rows] - X[train].mean(axis=0)) / X[train].std(axis=0) for rows in (train, test))

    check_inductive(honest, split)
    with pytest.raises(LabelError, match="something is fitted on test people"):
        check_inductive(leaky, split)


# Options


def people(rng, n=8, each=15, width=6):
    groups = np.repeat(np.arange(n).astype(str), each)
    y = np.tile([0, 1], n * each)[: n * each]
    own = 3 * rng.standard_normal((n, width))
    X = own[groups.astype(int)] + rng.standard_normal((n * each, width))
    X[:, 0] += 2 * y
    return X, y, groups


def test_erasure_leaves_nothing_linear_of_the_concept_and_nothing_else_is_touched():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((400, 2))
    X = np.concatenate([Z @ rng.standard_normal((2, 3)), np.zeros((400, 2))], axis=1) + rng.standard_normal((400, 5))
    mean, eraser = leace(X, Z)
    left = X - (X - mean) @ eraser
    assert np.abs((left - left.mean(axis=0)).T @ (Z - Z.mean(axis=0))).max() < 1e-8
    np.testing.assert_allclose(left.mean(axis=0), mean)
    np.testing.assert_allclose(eraser @ eraser, eraser, atol=1e-10)  # a projection, along as many axes as the concept
    assert np.linalg.matrix_rank(eraser) == 2
    # the least change: in white coordinates it is orthogonal (theorem 4.2 of arXiv:2306.03819)
    values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
    root = vectors * np.sqrt(values) @ vectors.T
    white = np.linalg.inv(root) @ eraser.T @ root
    np.testing.assert_allclose(white, white.T, atol=1e-8)


def test_options_are_fitted_on_training_people_alone():
    X, _, groups = people(np.random.default_rng(0))
    train, test = np.flatnonzero(groups < "5"), np.flatnonzero(groups >= "5")
    for option in (erased, centred, lambda a, b, *_: equal_dimension(a, b, 3)):
        inside, outside = option(X[train], X[test], groups[train])
        moved = X[test].copy()
        moved[5:] += 100
        again, other = option(X[train], moved, groups[train])
        np.testing.assert_array_equal(inside, again)
        np.testing.assert_array_equal(outside[:5], other[:5])
    inside, _ = erased(X[train], X[test], groups[train])
    means = [inside[groups[train] == name].mean(axis=0) for name in "01234"]
    assert np.std(means, axis=0).max() < 1e-8
    inside, outside = centred(X[train], X[test], groups[train])
    assert max(abs(inside[groups[train] == name].mean()) for name in "01234") < 1e-12
    assert abs(recentre(X[test], groups[test]).mean()) < 1e-12 < abs(outside.mean())


def test_second_order_features_are_logarithms_on_directions_of_the_training_side():
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((10, 6, 6))
    matrices = raw @ raw.transpose(0, 2, 1) + np.eye(6)
    inside, outside = SecondOrder(matrices, rank=3)(np.arange(6), np.arange(6, 10))
    assert (inside.shape, outside.shape) == ((6, 6), (4, 6))
    whole, _ = SecondOrder(matrices, rank=6)(np.arange(6), np.arange(6, 10))
    leading = np.linalg.eigh(matrices[:6].mean(axis=0))[1]
    values, vectors = np.linalg.eigh(leading.T @ matrices[2] @ leading)
    expected = vectors * np.log(values) @ vectors.T
    # the trace of a logarithm is the logarithm of the determinant, and upper triangles hold the diagonal once
    assert np.linalg.norm(whole[2]) == pytest.approx(np.linalg.norm(expected))
    check_inductive(SecondOrder(matrices, rank=3), Split(np.arange(6), np.zeros(0, int), np.arange(6, 10)))


# Matching


def film(rng, noise: float):
    subjects, runs, onsets = (
        np.repeat(list("abcd"), 20),
        np.tile(np.repeat(["1", "2"], 10), 4),
        np.tile(np.arange(10.0), 8),
    )
    shared = rng.standard_normal((2, 10, 30))
    own = 5 * rng.standard_normal((4, 30))
    X = shared[runs.astype(int) - 1, onsets.astype(int)] + own[np.repeat(np.arange(4), 20)]
    return index_of(subjects, run=runs, onset=onsets), X + noise * rng.standard_normal(X.shape)


def test_shared_moments_are_found_by_the_mean_of_the_others():
    index, X = film(np.random.default_rng(0), noise=0.5)
    of = segments(index)
    assert of.chance == pytest.approx(0.1)
    rates = hit_rates(matched(X, of, recentred=True))
    assert set(rates) == {f"made/{name}" for name in "abcd"}
    assert min(rates.values()) > 0.9
    noise = np.random.default_rng(1).standard_normal(X.shape)
    found = matched(noise, of)
    null = matching_null(found, 200)
    assert null.mean() == pytest.approx(0.1, abs=0.02)
    assert np.mean(list(hit_rates(found).values())) < np.quantile(null, 0.99)


def test_only_moments_that_all_people_of_a_run_have_are_matched():
    index, X = film(np.random.default_rng(0), noise=0.5)
    kept = ~((index["subject"] == "b") & (index["run"] == "1") & (index["onset"] > 6)).to_numpy()
    of = segments(index[kept].reset_index(drop=True))
    assert {run: rows.shape for run, rows in of.rows.items()} == {"made//t/1": (4, 7), "made//t/2": (4, 10)}
    with pytest.raises(LabelError, match="no run with two segments was seen by two people"):
        segments(index[index["subject"] == "a"])


def test_matching_is_a_task_of_a_corpus(rest_and_task):
    corpus = rest_and_task(n_people=4)
    corpus.index["run"] = corpus.index["label.condition"]
    rng = np.random.default_rng(0)
    position = np.tile(np.arange(12), 4)
    features = rng.standard_normal((12, 20))[position] + 0.3 * rng.standard_normal((48, 20))
    asked = Task(name="when", view="pretrain", label="condition", kind="matching", baselines=["amplitude"])
    lines, people = evaluate_task(corpus, asked, {"shared": features}, n_permutations=49)
    (found,) = lines.query("entry == 'shared' and option == 'plain'").to_dict("records")
    assert found["score"] > 0.9 > found["chance"] == pytest.approx(1 / 6)
    assert found["p_value"] == 0.02
    scores = people.query("option == 'plain'").set_index("subject").groupby("entry")["score"]
    against = paired(*(scores.get_group(name).to_dict() for name in ("shared", "amplitude")))
    assert (against["wins"], against["losses"]) == (4, 0)


def test_scores_inside_recordings_are_averaged_over_people(rest_and_task):
    corpus = rest_and_task(n_people=4)
    corpus.index["crc32c"] = np.arange(48)
    corpus.index["label.x"] = np.tile(np.arange(6.0), 8).astype(str)
    asked = task(view="pretrain", kind="regression", metric="pearson", within="recording", n_splits=2)
    question = ask(asked, corpus)
    rows = np.arange(48)
    offset = np.where(corpus.index["label.condition"] == "rest", 0.0, 50.0)  # between recordings, which must not count
    scores = question.y + offset
    scores[:6] *= -1
    values = question.by_group([(rows, scores)])
    assert values == pytest.approx({"made/00": 0.0, "made/01": 1.0, "made/02": 1.0, "made/03": 1.0})


def test_whole_recordings_are_scored_by_the_mean_over_their_windows(rest_and_task):
    corpus = rest_and_task(n_people=4)
    corpus.index["crc32c"] = np.arange(48)
    question = ask(task(view="pretrain", label="condition", level="file", n_splits=2), corpus)
    scores = np.where(question.y == 1, 0.4, -0.4)
    scores[::6] *= -2  # one window of each recording is wrong, and not strong enough to turn the mean
    assert balanced_accuracy(question.y, (scores > 0).astype(int)) == pytest.approx(5 / 6)
    assert question.measure(question.y, scores, np.arange(48)) == 1.0


def test_another_random_network_seldom_gains_over_random_networks():
    """Networks differ by 0.05, people by 0.1; the interval over both holds the level that people alone do not."""
    rng = np.random.default_rng(0)
    alone, both = [], []
    for _ in range(400):
        people, networks = 0.1 * rng.standard_normal((20, 1)), 0.05 * rng.standard_normal(4)
        scores = people + networks + 0.02 * rng.standard_normal((20, 4))
        names = [str(number) for number in range(20)]
        gain = paired(*(dict(zip(names, values, strict=True)) for values in (scores[:, 0], scores[:, 1:].mean(axis=1))))
        low, high = _over_initialisations(gain["difference"], gain, scores[:, 1:].mean(axis=0).tolist())
        both.append(not low < 0 < high)
        alone.append(abs(gain["difference"]) > 2.09 * gain["se"])
    assert np.mean(alone) > 0.5
    assert np.mean(both) < 0.08


@pytest.fixture
def trained_by(monkeypatch):
    """The record of a model: datasets, and the people of each where they are told."""

    def of(**data):
        rows = [{"dataset": name} | ({} if people is None else {"subjects": people}) for name, people in data.items()]
        monkeypatch.setattr(leaks, "record_of", lambda run: {"data": rows})
        return pretraining_overlap("model", index_of(list("aabc")))

    return of


def test_people_of_a_task_that_pretraining_saw_are_counted_and_named(trained_by, monkeypatch):
    assert trained_by() == (0, "")
    assert trained_by(made=["x"]) == (0, "")
    assert trained_by(made=["b", "a", "x"], other=["c"]) == (2, "pretraining saw 2 of 3 people (made/a is one)")
    assert trained_by(made=None) == (0, "its release does not say which people trained it")
    shared = {
        "larger": Overlap(kind="contains", why="it was cut from it"),
        "near": Overlap(kind="may share", why="both"),
    }
    asked = []

    def overlaps(evaluation, among):
        asked.append((evaluation, set(among)))
        return {name: overlap for name, overlap in shared.items() if name in among}

    monkeypatch.setattr(leaks, "overlaps", overlaps)
    told = "it was trained on larger, which contains made (it was cut from it)"
    assert trained_by(larger=["1"], near=["2"]) == (3, told)
    assert trained_by(near=["2"], made=["x"]) == (0, "")
    assert asked == [("made", {"larger", "near"}), ("made", {"near"})]  # of itself the people are listed


def test_whole_recordings_need_one_label_each(rest_and_task):
    corpus = rest_and_task(n_people=4)
    corpus.index["crc32c"] = np.arange(48)
    corpus.index["label.half"] = np.where(np.arange(48) % 6 < 3, "first", "second")
    question = ask(task(view="pretrain", label="half", level="file", n_splits=2), corpus)
    with pytest.raises(ConfigError, match=r"t.level: its label changes inside recordings; choose level: window"):
        question.measure(question.y, np.zeros(48), np.arange(48))


def test_runs_are_matched_where_a_task_asks_for_runs_and_only_the_tested_are_scored(rest_and_task):
    corpus = rest_and_task(n_people=3)
    corpus.index["run"] = np.where(corpus.index["label.condition"] == "rest", "1", "2")
    asked = task(view="pretrain", kind="identification", split="run", label="")
    pairs = ask(asked, corpus).pairs
    runs = corpus.index["run"].to_numpy()
    assert [set(runs[pairs.session_N == code]) for code in pairs.first] == [{"1"}] * 3
    assert [set(runs[pairs.session_N == code]) for code in pairs.last] == [{"2"}] * 3
    film = ask(task(view="pretrain", kind="matching", label="condition", tested=["01"]), corpus)
    assert film.pairs.tested == {"made/01"}
    assert film.pairs.people == ["made/00", "made/01", "made/02"]  # whom they are compared with


def test_recordings_without_a_common_channel_are_named(rest_and_task):
    corpus = rest_and_task(n_people=2)
    corpus.index.loc[3, "channel_set"] = "others"
    corpus.tables["others"] = Channels(list("abcd"), ("eeg",) * 4)
    with pytest.raises(LabelError, match="channels: its recordings share no channel"):
        task_windows(corpus, np.arange(12))
