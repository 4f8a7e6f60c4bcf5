from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from brainof.errors import ConfigError, LabelError
from brainof.evaluation.protocol import Task, recipe_tasks, task_rows, task_windows
from brainof.evaluation.task import evaluate_task, save_rows

CONDITION = Task(name="condition", view="pretrain", label="condition", n_splits=4, repeats=1)


def row_of(rows: list[dict], **wanted) -> dict:
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} rows for {wanted}"
    return found[0]


def score(rows: list[dict], features: str, **wanted) -> dict:
    wanted = {"metric": "balanced_accuracy", "level": "window", "recentred": False, **wanted}
    return row_of(rows, row="score", features=features, **wanted)


def test_a_real_effect_is_found_and_noise_is_not(rest_and_task):
    corpus = rest_and_task()
    noise = np.random.default_rng(0).standard_normal((144, 10))
    rows = evaluate_task(corpus, CONDITION, {"noise": noise, "seeds": [noise[:, :5], noise[:, 5:]]}, n_permutations=39)
    found = score(rows, "band power")
    assert found["score"] > 0.9
    assert found["p_value"] <= 0.05
    assert abs(score(rows, "noise")["score"] - 0.5) < 0.12
    assert score(rows, "noise")["p_value"] > 0.05
    assert score(rows, "chance")["score"] == 0.5
    assert score(rows, "seeds")["n_seeds"] == 2
    assert score(rows, "band power", level="file")["score"] >= found["score"] - 0.05
    against = row_of(rows, row="paired", against="band power", metric="balanced_accuracy", level="window")
    assert against["features"] == "noise"
    assert against["losses"] == 12
    assert against["p_value"] < 0.01
    people = [row for row in rows if row["row"] == "group" and row["features"] == "noise" and row["level"] == "window"]
    assert {row["group"] for row in people} == {f"made/{person:02d}" for person in range(12)}


def test_the_p_value_is_that_of_the_first_seed(rest_and_task):
    corpus = rest_and_task()
    good, noise = corpus.index["label.condition"].eq("task").to_numpy(float)[:, None], np.zeros((144, 1))
    task = CONDITION.model_copy(update={"baselines": []})
    rows = evaluate_task(corpus, task, {"one": good, "two": [good, noise]}, n_permutations=39)
    assert score(rows, "two")["p_value"] == score(rows, "one")["p_value"] <= 0.05
    assert score(rows, "two")["score"] == pytest.approx((score(rows, "one")["score"] + 0.5) / 2)


def test_repeats_say_how_much_the_folds_matter(rest_and_task):
    corpus, noise = rest_and_task(), np.random.default_rng(0).standard_normal((144, 10))
    task = CONDITION.model_copy(update={"baselines": [], "repeats": 3})
    found = score(evaluate_task(corpus, task, {"noise": noise}, n_permutations=0), "noise")
    assert (found["n_repeats"], found["n_folds"]) == (3, 12)
    assert 0 < found["repeat_sd"] < found["sd"]


def test_labels_of_subjects_get_a_standard_error_and_a_paired_test_of_the_score_itself(rest_and_task):
    corpus = rest_and_task(n_people=24)
    subject = corpus.index["subject"].astype(int).to_numpy()
    corpus.index["label.group"] = (subject % 3 == 0).astype(int).astype(str)  # 8 of 24
    rng = np.random.default_rng(0)
    good = (subject % 3 == 0)[:, None] + 0.5 * rng.standard_normal((24, 1))[subject]
    noise = rng.standard_normal((24, 3))[subject]
    task = Task(name="g", view="pretrain", label="group", n_splits=4, repeats=2, baselines=[])
    rows = evaluate_task(corpus, task, {"good": good, "noise": noise}, n_permutations=0)
    for metric in ("balanced_accuracy", "roc_auc"):
        found = score(rows, "good", metric=metric)
        assert found["group_score"] == pytest.approx(found["score"], abs=0.06)
        assert 0 < found["group_se"] < 0.25
        against = row_of(rows, row="paired", against="noise", metric=metric, level="window")
        assert against["n_groups"] == 24
        assert against["difference"] == pytest.approx(
            found["group_score"] - score(rows, "noise", metric=metric)["group_score"]
        )
        assert against["p_value"] < 0.05


def test_features_that_saw_the_subjects_are_marked(rest_and_task):
    corpus, noise = rest_and_task(n_people=4), np.random.default_rng(0).standard_normal((48, 3))
    task = CONDITION.model_copy(update={"n_splits": 2, "baselines": ["amplitude"]})
    seen = {"model": {"made/01", "made/02", "other/03"}, "fresh": {"other/00"}}
    rows = evaluate_task(corpus, task, {"model": noise, "fresh": noise}, seen=seen, n_permutations=0)
    assert (score(rows, "model")["transductive"], score(rows, "model")["n_seen"]) == (True, 2)
    for name in ("fresh", "amplitude"):
        assert (score(rows, name)["transductive"], score(rows, name)["n_seen"]) == (False, 0)


def test_recentring_is_a_row_of_its_own(rest_and_task):
    corpus = rest_and_task(effect=1.0)
    rows = evaluate_task(corpus, CONDITION, {}, recentred=["band power", "tangent space"], n_permutations=0)
    assert score(rows, "band power", recentred=True)["score"] != score(rows, "band power")["score"]
    assert score(rows, "tangent space", recentred=True)["n_folds"] == 4
    assert score(rows, "band power")["p_value"] is None


def test_regression_beats_the_mean_where_the_target_is_in_the_features(rest_and_task):
    corpus = rest_and_task()
    task = Task(name="age", view="pretrain", label="age", kind="regression", n_splits=4, repeats=1, baselines=[])
    age = corpus.index["label.age"].astype(float).to_numpy()
    features = age[:, None] + np.random.default_rng(0).standard_normal((144, 3))
    rows = evaluate_task(corpus, task, {"good": features}, n_permutations=19)
    assert score(rows, "good", metric="mae")["score"] < score(rows, "chance", metric="mae")["score"] / 2
    assert score(rows, "good", metric="mae")["p_value"] == 0.05
    assert score(rows, "good", metric="pearson")["score"] > 0.8


def test_identification_finds_people_and_reports_both_ways(rest_and_task):
    corpus = rest_and_task()
    corpus.index["session"] = np.where(corpus.index["label.condition"] == "rest", "1", "2")
    task = Task(name="who", view="pretrain", kind="identification", baselines=["amplitude"])
    rng = np.random.default_rng(0)
    person = corpus.index["subject"].astype(int).to_numpy()
    fingerprint = rng.standard_normal((12, 30))[person] + rng.standard_normal((144, 30))
    rows = evaluate_task(
        corpus, task, {"print": fingerprint, "noise": rng.standard_normal((144, 30))}, n_permutations=99
    )
    found = score(rows, "print", metric="top1", level="session")
    assert found["score"] == 1.0
    assert found["p_value"] == 0.01
    assert found["chance"] == pytest.approx(1 / 12)
    assert score(rows, "noise", metric="top1", level="session")["p_value"] > 0.01
    assert score(rows, "amplitude", metric="top1", level="session")["score"] < 0.5
    against = row_of(rows, row="paired", against="noise", recentred=True)
    assert against["wins"] > against["losses"] == 0
    with pytest.raises(ConfigError, match="'tangent space' needs a training side"):
        evaluate_task(corpus, task.model_copy(update={"baselines": ["tangent space"]}), {})


def test_rows_become_a_table_and_json(rest_and_task, tmp_path):
    rows = evaluate_task(
        rest_and_task(), CONDITION.model_copy(update={"baselines": ["amplitude"]}), {}, n_permutations=0
    )
    assert {row["features"] for row in rows if row["row"] == "score"} == {"chance", "amplitude"}
    save_rows(rows, tmp_path / "rows.json")
    back = json.loads((tmp_path / "rows.json").read_text())
    assert [row["row"] for row in back] == [row["row"] for row in rows]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": "arithmetc"}, "no window has 'arithmetc'"),
        ({"dataset": "mde"}, "did you mean 'made'"),
        ({"label": "conditoin"}, "did you mean 'condition'"),
        ({"label": "empty"}, "no window is labelled"),
        ({"label": "same"}, "one class only"),
        ({"split": "sesion"}, "did you mean 'session'"),
        ({"kind": "regression"}, "regression takes numbers"),
    ],
)
def test_what_does_not_fit_is_named(rest_and_task, change, message):
    corpus = rest_and_task(n_people=2)
    corpus.index["label.empty"] = None
    corpus.index["label.same"] = "one"
    with pytest.raises(LabelError, match=message):
        evaluate_task(corpus, CONDITION.model_copy(update=change), {}, n_permutations=0)


def test_features_of_another_length_are_refused(rest_and_task):
    with pytest.raises(LabelError, match="3 rows of features for 24 windows"):
        evaluate_task(rest_and_task(n_people=2), CONDITION, {"x": np.zeros((3, 2))})


def test_windows_are_read_on_the_channels_that_all_recordings_have(rest_and_task):
    corpus = rest_and_task(n_people=2)
    four = corpus.tables["four"]
    corpus.tables["three"] = four.take([3, 1, 0])
    corpus.windows[0] = corpus.windows[0][[3, 1, 0]]
    corpus.index.loc[0, "channel_set"] = "three"
    windows, sfreqs = task_windows(corpus, task_rows(corpus.index, CONDITION))
    assert {window.shape for window in windows} == {(3, 256)}
    np.testing.assert_array_equal(windows[1], corpus.windows[1][[3, 1, 0]])
    assert sfreqs[0] == 128


def test_tasks_come_from_the_recipes_of_the_corpus(rest_and_task):
    corpus = rest_and_task(n_people=2)
    corpus.datasets = {
        "made": {
            "modality": "eeg",
            "tasks": {"state": {"label": "condition"}, "blocks": {"label": "condition", "split": "run"}},
            "task_views": {"state": "pretrain", "blocks": "blocks"},
        }
    }
    state, blocks = recipe_tasks(corpus)
    assert (state.name, state.view, state.n_splits, state.split) == ("made/state", "pretrain", 6, "subject")
    assert (blocks.view, blocks.n_splits, blocks.split) == ("blocks", None, "run")


def test_a_score_that_comes_from_the_site_is_caught(rest_and_task):
    """The group is decoded, against the plain null significantly so; with labels exchanged inside sites it is not.

    Over many placements of the two subjects whose group is not that of their site: a single one may do so by chance.
    """
    corpus = rest_and_task(n_people=16)
    corpus.index = corpus.index.groupby("subject", observed=True).head(3).reset_index(drop=True)
    subject = corpus.index["subject"].astype(int).to_numpy()
    site = subject % 2
    corpus.index["label.site"] = site.astype(str)
    task = Task(name="g", view="pretrain", label="group", n_splits=3, repeats=1, baselines=[], nuisance="site")
    rng = np.random.default_rng(0)
    caught, real = [], []
    for seed in range(30):
        group = np.where(np.isin(subject, 2 * rng.integers(0, 8, 2) + [0, 1]), 1 - site, site)
        corpus.index["label.group"] = group.astype(str)
        noise = 0.3 * rng.standard_normal((len(subject), 3))
        features = {"from the site": noise + site[:, None], "from the group": noise + group[:, None]}
        rows = evaluate_task(corpus, task.model_copy(update={"random_state": seed}), features, n_permutations=39)
        caught.append(score(rows, "from the site"))
        real.append(score(rows, "from the group"))
    caught, real = pd.DataFrame(caught), pd.DataFrame(real)
    assert (caught["p_value"] <= 0.05).mean() > 0.9
    assert caught["score"].mean() > 0.75
    assert caught["nuisance_null_mean"].mean() > 0.7
    assert caught["nuisance_null_mean"].mean() == pytest.approx(caught["score"].mean(), abs=0.03)
    assert (caught["nuisance_p_value"] <= 0.05).sum() <= 4  # 98 % of draws of a test that keeps its level
    assert caught["nuisance_p_value"].median() > 0.2
    # one labelling in 64 is the true one: of 39 drawn, 0.6 tie with it, and in 99 % of draws up to three
    assert (real["nuisance_p_value"] <= 0.1).mean() > 0.9
    assert real["nuisance_p_value"].median() <= 0.05
    with pytest.raises(LabelError, match="did you mean 'site'"):
        evaluate_task(corpus, task.model_copy(update={"nuisance": "sit"}), features)
    with pytest.raises(LabelError, match="varies within"):
        corpus.index["label.site"] = np.arange(len(subject)).astype(str)
        evaluate_task(corpus, task, features)
