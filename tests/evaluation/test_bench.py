"""`brainof evaluate` from files to tables: resuming, parts, controls, and an independent computation of the scores."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from brainof.cli import main
from brainof.corpus import Corpus
from brainof.datasets import prepare
from brainof.errors import ConfigError
from brainof.evaluation import entries, evaluate, find_suite, leaks
from brainof.evaluation.suite import Suite, suite_versions
from brainof.evaluation.summary import MOABB
from brainof.evaluation.transforms import narrowed
from brainof.model.presets import PRESETS
from brainof.release import load
from brainof.stats.ridge import ALPHAS
from brainof.stats.splits import CrossSubject

RECIPE = """\
name: alpha
title: Alpha
modality: eeg
license: CC0-1.0
citation: none
url: https://example.org/alpha
access: open
files: [{pattern: "sub-{subject}_run-{run}.npz"}]
read: {variable: eeg, time_axis: 1, units: uV, sfreq: 128, channel_names: [Fp1, Fp2, Cz, Oz]}
windows: {length: 2}
labels:
  state: {entity: run, values: {1: rest, 2: task}}
  age: {table: people.tsv, key: {id: "{subject}"}, column: age}
tasks:
  state: {label: state}
  age: {label: age, kind: regression}
"""
PEOPLE = ["01", "02", "03", "04", "05", "06"]


@pytest.fixture(scope="module")
def alpha(tmp_path_factory) -> Path:
    """Six people, two runs of 10 s each; the alpha rhythm at Oz is stronger in the second."""
    root = tmp_path_factory.mktemp("data")
    folder, rng, times = root / "alpha", np.random.default_rng(0), np.arange(1280) / 128
    folder.mkdir()
    (root / "alpha.yaml").write_text(RECIPE)
    for person in PEOPLE:
        for run in (1, 2):
            signal = 20 * rng.standard_normal((4, 1280))
            signal[3] += 10 * run**2 * np.sin(2 * np.pi * 10 * times)
            np.savez(folder / f"sub-{person}_run-{run}.npz", eeg=signal.astype(np.float32))
    ages = "".join(f"{person}\t{20 + number}\n" for number, person in enumerate(PEOPLE))
    (folder / "people.tsv").write_text("id\tage\n" + ages)
    return root


@pytest.fixture(scope="module")
def prepared(alpha, tmp_path_factory) -> Path:
    """A corpus of them, for what does not ask how it came about."""
    corpus = tmp_path_factory.mktemp("corpus")
    prepare(alpha / "alpha.yaml", alpha / "alpha", corpus)
    return corpus


def suite(root: Path, **changes) -> Suite:
    state = {"recipe": f"{root}/alpha.yaml/state", "n_splits": 3, "repeats": 1, "baselines": ["amplitude"]}
    state |= {"options": ["erased"], "controls": ["age"]}
    values = {"name": "tiny", "version": "1.0", "title": "Tiny", "random_weights": 2, "permutations": 9}
    far = {"recipe": "seed_v/emotion"}
    return Suite.parse({**values, "tasks": {"state": state, "far": far}, **changes})


def done_task(root: Path) -> dict:
    return suite(root).model_dump(mode="json", exclude_unset=True)["tasks"]["state"]


@pytest.fixture(scope="module")
def done(alpha, tmp_path_factory):
    return evaluate(suite(alpha), "debug", tmp_path_factory.mktemp("out"), root=alpha)


def test_every_task_stands_beside_its_controls(done):
    lines = done.summary.set_index(["entry", "readout", "option"])
    entries = {name for name, _, _ in lines.index}
    assert entries == {"debug (random weights)", "random weights", "amplitude", "age alone", "chance"}
    amplitude = lines.loc[("amplitude", "ridge", "plain")]
    assert amplitude["score"] > 0.8 > lines.loc[("age alone", "ridge", "plain"), "score"]
    assert amplitude["p_value"] <= 0.2  # of nine permutations; all labels exchanged is as good as none
    assert lines.loc[("chance", "chance", "plain"), "score"] == 0.5
    model = lines.loc[("debug (random weights)", "ridge", "plain")]
    assert model["gain_low_any"] <= model["gain_low"] < model["gain"] < model["gain_high"] <= model["gain_high_any"]
    assert model["gain"] == pytest.approx(model["score"] - lines.loc[("random weights", "ridge", "plain"), "score"])
    assert (model["n_people"], lines.loc[("random weights", "ridge", "plain"), "n_seeds"]) == (6, 2)
    assert 0 <= model["identity"] <= 1
    assert model["identity_chance"] == 0.5  # two test people in each fold
    assert ("debug (random weights)", "ridge", "erased") in lines.index


def test_the_table_has_the_columns_of_moabb_and_one_row_per_person(done):
    table = pd.read_parquet(done.folder / "results.parquet")
    assert tuple(table.columns[: len(MOABB)]) == MOABB
    own = table[(table["entry"] == "amplitude") & (table["option"] == "plain")]
    assert sorted(own["subject"]) == PEOPLE
    assert set(own["dataset"]) == {"alpha"}
    assert set(own["evaluation"]) == {"CrossSubject"}
    assert own["score"].mean() == pytest.approx(
        done.summary.query("entry == 'amplitude' and option == 'plain'")["score"].item()
    )


def test_data_that_are_not_here_are_listed_with_their_page(done):
    (absent,) = done.absent
    assert (absent.task, absent.dataset) == ("far", "seed_v")
    assert "bcmi.sjtu.edu.cn" in absent.access
    text = (done.folder / "results.md").read_text()
    assert "## Data that are not here" in text
    assert "bcmi.sjtu.edu.cn" in text
    assert "gain over random weights" in text


def test_scores_are_those_of_an_independent_computation_on_the_saved_features(done):
    (file,) = [f for f in (done.folder / "features" / "state").glob("*.npy") if not f.name.startswith("random")]
    X = np.load(file).astype(np.float64)
    index = Corpus(done.folder / "corpora" / "alpha").index
    y, people = (index["label.state"] == "task").to_numpy().astype(int), index["subject"].astype(str).to_numpy()
    predicted = np.zeros(len(y))
    for train, test in CrossSubject(3).split(groups=people):
        inner = list(CrossSubject(4).split(groups=people[train]))
        held_out = {}
        for alpha in ALPHAS:
            scores = np.zeros(len(train))
            for inside, outside in inner:
                scores[outside] = fitted(X[train][inside], y[train][inside], alpha)(X[train][outside])
            held_out[alpha] = scores
        targets = 2.0 * y[train] - 1
        best = min(ALPHAS, key=lambda alpha: ((held_out[alpha] - targets) ** 2).sum())
        threshold = np.mean([held_out[best][y[train] == code].mean() for code in (0, 1)])
        predicted[test] = fitted(X[train], y[train], best)(X[test]) - threshold
    of_people = [balanced_accuracy_score(y[people == p], predicted[people == p] > 0) for p in PEOPLE]
    ours = done.results.query("entry == 'debug (random weights)' and option == 'plain'").set_index("subject")["score"]
    np.testing.assert_allclose(ours[PEOPLE].to_numpy(), of_people, atol=1e-9, rtol=0)
    (run,) = (done.folder / "runs" / "state" / "debug--random-weights-__ridge__plain").glob("seed-0_folds.npz")
    with np.load(run) as arrays:
        np.testing.assert_allclose(arrays["scores"], predicted[arrays["rows"]], atol=1e-9, rtol=0)


def fitted(X, y, alpha):
    scaler = StandardScaler().fit(X)
    model = Ridge(alpha=alpha * X.shape[1], solver="svd").fit(scaler.transform(X), 2.0 * y - 1)
    return lambda new: model.predict(scaler.transform(new))


def test_what_is_on_disk_is_kept_and_what_changed_is_computed_again(done, alpha):
    files = sorted((done.folder / "runs").rglob("*.npz"))
    before = {file: file.stat().st_mtime_ns for file in files}
    files[0].write_bytes(files[0].read_bytes()[:50])  # cut short
    said: list[str] = []
    again = evaluate(suite(alpha), "debug", done.folder, root=alpha, say=said.append)
    assert any(f"{len(files)} runs, {len(files) - 1} of them on disk" in line for line in said)
    changed = [file for file in files if file.stat().st_mtime_ns != before[file]]
    assert changed == [files[0]]
    pd.testing.assert_frame_equal(again.summary, done.summary)


def test_parts_together_are_the_whole(done, alpha, prepared, tmp_path):
    first = evaluate(suite(alpha), "debug", tmp_path, root=prepared, part=(1, 2))
    assert first.unfinished > 0
    second = evaluate(suite(alpha), "debug", tmp_path, root=prepared, part=(2, 2))
    assert second.unfinished == 0
    pd.testing.assert_frame_equal(second.summary, done.summary)


def test_a_flipped_label_changes_the_question_and_the_score(done, alpha, tmp_path):
    """Rest and task of one person are exchanged in the files: nothing old is reused, and the person's score falls."""
    wrong = tmp_path / "data"
    wrong.mkdir()
    (wrong / "alpha").mkdir()
    for file in (alpha / "alpha").iterdir():
        name = file.name
        if name.startswith("sub-02"):
            name = name.replace("run-1", "run-x").replace("run-2", "run-1").replace("run-x", "run-2")
        (wrong / "alpha" / name).write_bytes(file.read_bytes())
    flipped = evaluate(suite(alpha), "debug", tmp_path / "out", root=wrong, permutations=0)
    query = "entry == 'amplitude' and option == 'plain'"
    right, now = (t.query(query).set_index("subject")["score"] for t in (done.results, flipped.results))
    assert now["02"] < 0.3 < 0.8 < right["02"]


def test_a_read_out_that_trains_chooses_on_validation_people(alpha, tmp_path):
    asked = {"recipe": f"{alpha}/alpha.yaml/state", "n_splits": 2, "repeats": 1, "baselines": []}
    asked |= {"readouts": ["attentive"], "tunings": {"attentive": {"epochs": 2}}}
    found = evaluate(
        suite(alpha, tasks={"state": asked}, random_weights=0), "debug", tmp_path, root=alpha, permutations=0
    )
    line = found.summary.query("readout == 'attentive'").iloc[0]
    assert line["reason"] == ""
    assert 0 <= line["score"] <= 1
    with np.load(next((tmp_path / "runs").rglob("*fold-0.npz"))) as arrays:
        about = json.loads(str(arrays["about"]))["folds"][0]
    assert about["n_validation"] == 10  # one of three training people
    assert about["lr"] in [1e-3 * factor for factor in (0.1, 0.3, 1.0, 3.0, 10.0)]


@pytest.mark.filterwarnings("ignore")
def test_a_network_is_trained_from_scratch_and_one_that_fails_is_a_row_with_its_reason(alpha, tmp_path):
    asked = {"recipe": f"{alpha}/alpha.yaml/state", "n_splits": 2, "repeats": 1, "baselines": ["FFCL", "Labram"]}
    asked |= {"tunings": {"full": {"epochs": 1}}}
    wanted = suite(alpha, tasks={"state": asked}, random_weights=0)
    lines = evaluate(wanted, "debug", tmp_path, root=alpha, permutations=0).summary.set_index("entry")
    assert lines.loc["FFCL", "kind"] == "network"
    assert lines.loc["FFCL", "readout"] == "full"
    assert 0 <= lines.loc["FFCL", "score"] <= 1
    assert np.isfinite(lines.loc["Labram", "score"]) or "Labram: " in lines.loc["Labram", "reason"]


def test_the_command(alpha, tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    values = suite(alpha).model_dump(mode="json", exclude_unset=True)
    values["tasks"] = {"state": {**values["tasks"]["state"], "options": [], "controls": []}}
    path.write_text(yaml.safe_dump(values))
    command = ["evaluate", str(path), "--root", str(alpha)]
    assert main([*command[:3], str(alpha / "none"), "--list"]) == 2
    assert f"--root: {alpha / 'none'} is not a folder; give the folder of the datasets" in capsys.readouterr().err
    assert main([*command, "--list"]) == 0
    assert "here" in capsys.readouterr().out
    assert main([*command, "--model", "debug", "--out", str(tmp_path / "o"), "--permutations", "0", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {row["entry"] for row in printed["summary"]} >= {"amplitude", "chance"}
    for wrong, message in (
        (["--part", "3/2", "--model", "debug", "--out", str(tmp_path / "o")], "--part: 3/2"),
        (["--part", "x", "--model", "debug", "--out", str(tmp_path / "o")], "give I/N"),
        (["--model", "debug"], "--out: is required"),
        (["--task", "stat", "--model", "debug", "--out", str(tmp_path / "o")], "did you mean 'state'?"),
    ):
        assert main([*command, *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_model_that_saw_test_people_is_a_row_with_its_reason(alpha, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(leaks, "trained_on", lambda model: {"alpha/02", "alpha/05", "other/01"})
    asked = {"recipe": f"{alpha}/alpha.yaml/state", "n_splits": 2, "repeats": 1, "baselines": ["amplitude"]}
    small = suite(alpha, tasks={"state": asked}, random_weights=0, permutations=0)
    lines = evaluate(small, "debug", tmp_path, root=prepared).summary.set_index("kind")
    assert "pretraining saw 2 of 6 people (alpha/02 is one)" in lines.loc["model", "reason"]
    assert "accept='overlap'" in lines.loc["model", "reason"]
    assert np.isnan(lines.loc["model", "score"])
    assert lines.loc["classical", "score"].notna().all()
    accepted = evaluate(small, "debug", tmp_path, root=alpha, accept=["overlap"]).summary.set_index("kind")
    assert np.isfinite(accepted.loc["model", "score"])
    assert accepted.loc["model", "transductive"]
    assert not accepted.loc["classical", "transductive"].any()


def test_people_that_pretraining_saw_train_but_are_not_scored(alpha, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(leaks, "trained_on", lambda _: {"alpha/02", "alpha/05"})
    found = evaluate(
        suite(alpha), "debug", tmp_path / "out", root=prepared, unseen=True, permutations=2, tasks=["state"]
    )
    assert not found.refused
    results = found.results[found.results["task"] == "state"]
    assert set(results["subject"]) == {"01", "03", "04", "06"}
    line = found.summary.query("task == 'state' and entry == 'debug (random weights)'").iloc[0]
    assert line["reason"] == "" or line["reason"] != line["reason"]
    assert results["samples"].max() == 4 * 2 * 5  # of four people in each fold, those two among them
    text = (tmp_path / "out" / "results.md").read_text()
    assert "Scored are 4 of them" in text
    monkeypatch.setattr(leaks, "trained_on", lambda _: {f"alpha/{name}" for name in PEOPLE})
    found = evaluate(suite(alpha), "debug", tmp_path / "all", root=prepared, unseen=True, tasks=["state"])
    assert "saw all people in pretraining" in found.refused["state"]


def test_subjects_to_test_that_are_not_there_are_named(alpha, prepared, tmp_path):
    asked = suite(alpha)
    asked = asked.model_copy(update={"tasks": {"state": asked.tasks["state"].model_copy(update={"tested": ("7",)})}})
    assert "no subject '7'" in evaluate(asked, "debug", tmp_path / "out", root=prepared).refused["state"]


def test_a_model_whose_contract_does_not_fit_is_a_row_with_its_reason(alpha, prepared, tmp_path, monkeypatch):
    network, _ = load("debug")
    monkeypatch.setattr(entries, "load", lambda name: (network, SimpleNamespace(modalities={"fmri": None})))
    asked = {"recipe": f"{alpha}/alpha.yaml/state", "n_splits": 2, "repeats": 1, "baselines": []}
    small = suite(alpha, tasks={"state": asked}, random_weights=0, permutations=0)
    found = evaluate(small, "debug", tmp_path, root=prepared)
    (line,) = found.summary.query("kind == 'model'").to_dict("records")
    assert found.unfinished == 0
    assert line["reason"] == "alpha: modality: the model was not trained on eeg; it accepts fmri"
    assert "the model was not trained on eeg" in (tmp_path / "results.md").read_text()


def test_tasks_that_a_call_leaves_out_are_kept(done, alpha, tmp_path):
    """One task after the other gives the tables and the page of both."""
    age = {"recipe": f"{alpha}/alpha.yaml/age", "n_splits": 2, "repeats": 1, "baselines": ["amplitude"]}
    one = done_task(alpha)
    both = suite(alpha, tasks={"state": one, "age": {**age, "metric": "pearson"}}, random_weights=0, permutations=0)
    evaluate(both, "debug", tmp_path, root=alpha, tasks=["state"])
    evaluate(both, "debug", tmp_path, root=alpha, tasks=["age"])
    table = pd.read_parquet(tmp_path / "summary.parquet")
    assert list(table["task"].unique()) == ["state", "age"]
    assert set(pd.read_parquet(tmp_path / "results.parquet")["task"]) == {"state", "age"}
    text = (tmp_path / "results.md").read_text()
    assert text.index("## state") < text.index("## age")
    before = pd.read_parquet(done.folder / "summary.parquet").query("entry == 'amplitude' and option == 'plain'")
    again = table.query("task == 'state' and entry == 'amplitude' and option == 'plain'")
    assert again["score"].item() == before["score"].item()


def test_a_corpus_as_root_is_taken_as_it_was_prepared(done, alpha, tmp_path):
    corpus = done.folder / "corpora" / "alpha"
    age = {"recipe": f"{alpha}/alpha.yaml/age", "fuse": "eegmat/arithmetic"}
    tasks = {"state": done_task(alpha), "fused": age}
    found = evaluate(suite(alpha, tasks=tasks), "debug", tmp_path, root=corpus)
    assert not (tmp_path / "corpora").exists()
    pd.testing.assert_frame_equal(found.summary, done.summary)
    why = f"the corpus {corpus} holds alpha and no eegmat, which `brainof prepare` adds"
    assert [(one.dataset, one.why) for one in found.absent] == [("eegmat", why)]


def test_a_second_modality_of_the_same_people_stands_beside_the_first(alpha, tmp_path):
    """Features that say nothing, beside ones of the same people that say it all."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "alpha").symlink_to(alpha / "alpha")
    other = tmp_path / "data" / "beside"
    other.mkdir()
    rng = np.random.default_rng(1)
    for person in PEOPLE[1:]:
        np.savez(
            other / f"{person}.npz", bold=int(person) * rng.standard_normal((60, 5)) + rng.standard_normal((60, 1))
        )
    recipe = """\
name: beside
title: Beside
modality: fmri
license: CC0-1.0
citation: none
files: [{pattern: "{subject}.npz"}]
read: {variable: bold, time_axis: 0, t_r: 2.0}
windows: {whole: true}
labels: {person: {entity: subject}}
tasks: {any: {label: person}}
"""
    (tmp_path / "beside.yaml").write_text(recipe)
    asked = {"recipe": f"{alpha}/alpha.yaml/state", "fuse": f"{tmp_path}/beside.yaml/any", "n_splits": 2, "repeats": 1}
    tasks = {"fused": {**asked, "baselines": ["amplitude"]}}
    fused = suite(alpha, tasks=tasks, random_weights=0, permutations=0)
    found = evaluate(fused, "debug", tmp_path / "out", root=tmp_path / "data")
    assert not found.absent
    lines = found.summary.query("option == 'plain'").set_index("kind")
    assert lines.loc["classical", "n_people"] == 5  # one has no second modality
    assert lines.loc["classical", "n_features"] == 4 + 10  # amplitudes, and connectivity of five regions
    assert lines.loc["model", "n_features"] % 2 == 0
    assert lines.loc["classical", "score"] > 0.8


def test_results_of_another_version_are_not_mixed(done, alpha):
    with pytest.raises(ConfigError, match=r"holds results of tiny 1.0, not tiny 1.1"):
        evaluate(suite(alpha, version="1.1"), "debug", done.folder, root=alpha)


def test_a_suite_without_data_leaves_the_folder_free(alpha, tmp_path):
    tasks = {"far": {"recipe": "seed_v/emotion"}}
    found = evaluate(suite(alpha, tasks=tasks), "debug", tmp_path, root=alpha)
    assert [one.task for one in found.absent] == ["far"]
    found = evaluate(suite(alpha, name="other", random_weights=0, permutations=0), "debug", tmp_path, root=alpha)
    assert set(found.summary["task"]) == {"state"}
    with pytest.raises(ConfigError, match=r"holds results of other 1.0, not tiny 1.0"):
        evaluate(suite(alpha, tasks=tasks), "debug", tmp_path, root=alpha)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("real-smal", "no suite 'real-smal'; did you mean 'real-small'"),
        ("states@0.9", "no version '0.9' of suite states; known: 1.0"),
        ("nowhere.yaml", "nowhere.yaml: file not found"),
    ],
)
def test_an_unknown_suite_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        find_suite(name)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"recipe": "alpha.yaml/stat"}, "has no task 'stat'; did you mean 'state'"),
        ({"recipe": "alpha.yaml/state", "readouts": ["rigde"]}, "unknown read-out 'rigde'"),
        ({"recipe": "alpha.yaml/state", "metric": "mae"}, "no metric 'mae' of classification"),
        ({"recipe": "alpha.yaml/state", "controls": ["site"]}, "the corpus has no label 'site'"),
        ({"recipe": "alpha.yaml/state", "split_file": "none.json"}, "none.json: split_file: file not found"),
    ],
)
def test_a_task_that_does_not_fit_is_one_line(alpha, prepared, tmp_path, task, message):
    task = {"n_splits": 2, "repeats": 1, "baselines": [], **task, "recipe": f"{alpha}/{task['recipe']}"}
    asked = suite(alpha, tasks={"state": task}, random_weights=0, permutations=0)
    try:
        found = evaluate(asked, "debug", tmp_path, root=prepared)
    except ConfigError as error:
        text = str(error)
    else:
        text = " ".join([*found.refused.values(), *found.summary.get("reason", [])])
    assert message in text


@pytest.mark.parametrize("name", sorted(suite_versions()))
def test_the_suites_that_come_along_are_valid(name):
    from brainof.datasets import find_recipe
    from brainof.evaluation.baselines import BASELINES, OWN
    from brainof.evaluation.networks import NETWORKS

    for task in find_suite(name).tasks.values():
        if task.simulate is None:
            recipe = find_recipe(task.dataset_name)
            resolved = task.resolved(recipe)
            assert resolved.view
            assert resolved.label or resolved.kind in ("identification", "resolution")
            for baseline in task.baselines or ():
                assert baseline in {*BASELINES[recipe.modality], *OWN, *NETWORKS}
            for label in (*task.controls, *([task.nuisance] if task.nuisance else [])):
                assert label in recipe.labels


@pytest.mark.parametrize(
    ("preset", "asked", "pool"),
    [
        ("per_output", "concat@connectivity", "concat@connectivity"),
        ("tiny", "concat@connectivity", "auto"),  # it has no such output
        ("tiny", "concat@waveform", "concat@waveform"),
        ("per_output", "auto", "auto"),
    ],
)
def test_a_pool_that_a_model_lacks_is_its_own(preset, asked, pool):
    assert entries._pool_of(lambda seed: SimpleNamespace(config=PRESETS[preset]), 0, asked) == pool


def test_features_too_wide_for_many_windows_are_projected():
    """Distances stay within a few per cent; what is small, or has gaps, stays as it is."""
    X = np.random.default_rng(1).standard_normal((40, 500)).astype(np.float32)
    assert narrowed(X, most=40) is X
    small = narrowed(X, most=30, width=400)
    assert small.shape == (40, 400)
    far = lambda Y: np.linalg.norm(Y[:, None] - Y, axis=-1)[np.triu_indices(40, 1)]  # noqa: E731
    np.testing.assert_allclose(far(small), far(X), rtol=0.2)
    X[3, 4] = np.nan
    assert narrowed(X, most=30) is X
