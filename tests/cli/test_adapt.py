from __future__ import annotations

import json

import numpy as np
import pytest

from brainof import BrainOFClassifier, embed, load
from brainof.adaptation import CorpusRows
from brainof.channels import Channels
from brainof.cli import main
from brainof.corpus import Corpus, CorpusWriter
from brainof.evaluation.adapt import AdaptConfig, question
from brainof.io.positions import electrode_positions
from brainof.prepare import Window, default_chain
from brainof.pretraining.data import contract_of
from brainof.recording import Recording
from brainof.release import save_release
from brainof.report.report import report

NAMES = ("Fz", "Cz", "Pz", "Oz")


@pytest.fixture
def corpus(tmp_path):
    """Six people, one file of each of two conditions, four windows each; one condition has an alpha rhythm."""
    rng = np.random.default_rng(0)
    channels = Channels(NAMES, ("eeg",) * 4, electrode_positions(NAMES), frame="head")
    time = np.arange(512) / 256
    with CorpusWriter(tmp_path / "corpus") as writer:
        tasks = {"state": {"label": "condition", "split": "subject"}}
        about = {"name": "made", "modality": "eeg", "steps": default_chain("eeg").to_steps(), "tasks": tasks}
        writer.add_dataset("made", {**about, "task_views": {"state": "pretrain"}, "license": "CC0"})
        for person in range(6):
            for condition, strength in (("rest", 0.0), ("task", 3.0)):
                row = {"dataset": "made", "modality": "eeg", "subject": f"{person:02d}", "sfreq": 256.0, "config": "x"}
                windows = []
                for number in range(4):
                    data = rng.standard_normal((4, 512)).astype(np.float32)
                    data[3] += strength * np.sin(2 * np.pi * 10 * time)
                    windows.append(Window(data, 2.0 * number, {"condition": condition}))
                writer.add({**row, "recording": f"{person:02d}-{condition}"}, channels, windows)
    return tmp_path / "corpus"


@pytest.fixture
def recipe(corpus, tmp_path):
    path = tmp_path / "made.yaml"
    path.write_text(f"corpus: {corpus}\ntask: made/state\nfolds: 3\n")
    return path


@pytest.mark.parametrize("chosen", ["probe", "{adaptation: lora, rank: 2, epochs: 1}"])
def test_a_run_holds_scores_and_is_loaded_by_estimators_and_embed(chosen, recipe, corpus, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["adapt", str(recipe), "--model", "debug", "--out", str(run), f"adaptation={chosen}"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "balanced_accuracy: " in printed
    assert "  band power: 1.000 [1.000, 1.000]" in printed
    assert sorted(path.name for path in run.iterdir()) == ["adapter", "config.yaml", "release", "scores.json"]
    scores = json.loads((run / "scores.json").read_text())
    found = scores["metrics"]["balanced_accuracy"]
    assert found["mean"] == pytest.approx(np.mean(found["folds"]), abs=1e-5)
    assert len(found["folds"]) == 3
    assert sorted(found["groups"]) == [f"made/{person:02d}" for person in range(6)]
    assert scores["confusion"]["classes"] == ["rest", "task"]
    counts = np.array(scores["confusion"]["counts"])
    assert counts.sum(1).tolist() == [24, 24]
    assert (counts.diagonal() / 24).mean() == pytest.approx(found["mean"], abs=1e-5)  # folds are of one size
    if chosen == "probe":  # the same number as the evaluation of frozen features
        beside = {(r["entry"], r["metric"]): r["fold_score"] for r in scores["summary"]}
        assert beside["frozen features", "balanced_accuracy"] == pytest.approx(found["mean"], abs=1e-5)
    rows = CorpusRows(Corpus(corpus))
    classifier = BrainOFClassifier.load(run)
    assert set(classifier.predict(rows)) <= {"rest", "task"}
    assert (classifier.predict(rows) == rows.index["label.condition"].to_numpy(dtype=str)).mean() > 0.6
    model, contract = load(run)
    channels = Channels(NAMES, ("eeg",) * 4, electrode_positions(NAMES), frame="head")
    data = 2e-5 * np.random.default_rng(0).standard_normal((4, 1024))
    assert len(embed(Recording(data, 256.0, "eeg", channels), model, contract=contract)) == 2


def test_a_run_of_other_settings_is_not_replaced(recipe, corpus, tmp_path, capsys):
    run, words = tmp_path / "run", ["adapt", str(recipe), "--out", str(tmp_path / "run"), "repeats=0"]
    assert main([*words, "--model", "debug"]) == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = []
    for more in (
        ["--model", "debug", "adaptation=mlp"],
        ["--model", "debug", "random_state=1"],
        ["--model", "debug", "adaptation={adaptation: probe, pool: mean}"],
        ["--model", str(run)],
    ):
        capsys.readouterr()
        assert main([*words, *more]) == 2
        said.append(capsys.readouterr().err.splitlines()[-1])
    where, fix = f"brainof: {run / 'config.yaml'}: ", "give another --out for other settings"
    assert said[0] == f"{where}adaptation.adaptation: the run was started with 'probe', not 'mlp'; {fix}"
    assert said[1] == f"{where}random_state: the run was started with 0, not 1; {fix}"
    assert said[2] == f"{where}adaptation.pool: the run was started with 'auto', not 'mean'; {fix}"
    assert said[3] == f"{where}model: the run was started with 'debug', not {str(run)!r}; {fix}"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert main([*words, "--model", "debug", "adaptation={adaptation: probe}"]) == 0  # the same, said otherwise
    (run / "config.yaml").write_text("steps: 3\n")
    assert main([*words, "--model", "debug"]) == 2
    assert f"{run}: out: holds a run of another command; give another --out" in capsys.readouterr().err


def test_a_trained_model_stands_beside_random_weights(recipe, corpus, tmp_path):
    model, contract = load("debug")[0], contract_of(Corpus(corpus), Corpus(corpus).index, 64)
    save_release(tmp_path / "base", model, contract)
    run, words = tmp_path / "run", ["adapt", str(recipe), "--model", str(tmp_path / "base"), "adaptation=frozen"]
    assert main([*words, "--out", str(run)]) == 0
    found = json.loads((run / "scores.json").read_text())
    lines = {row["entry"]: row for row in found["summary"] if row["metric"] == "balanced_accuracy"}
    assert list(lines)[:3] == ["adapted model", "frozen features", "random weights"]
    assert lines["frozen features"]["against"] == "random weights"
    assert lines["adapted model"]["gain"] is None  # what adapting random weights gives was not tried
    people = [row["subject"] for row in found["people"] if row["entry"] == "adapted model" and row["metric"] == "kappa"]
    assert people == [f"{person:02d}" for person in range(6)]
    page = report([run], tmp_path / "page.html").read_text()
    assert "by what the adapted model calls them" in page
    gain = lines["frozen features"]["gain"]
    assert f" of 1 comparisons: made/state (frozen features, ridge) {gain:+.3f}." in page


def test_the_card_of_an_adapted_model_names_the_data_of_both_with_their_licenses(recipe, corpus, tmp_path):
    model, contract = load("debug")[0], contract_of(Corpus(corpus), Corpus(corpus).index, 64)
    before = {
        "dataset": "elsewhere",
        "modality": "eeg",
        "people": 3,
        "windows": 9,
        "hours": 1.0,
        "license": "CC-BY-4.0",
    }
    save_release(tmp_path / "base", model, contract, data=[before], steps=7)
    words = ["adapt", str(recipe), "--model", str(tmp_path / "base"), "--out", str(tmp_path / "run"), "repeats=0"]
    assert main(words) == 0
    card = (tmp_path / "run" / "release" / "README.md").read_text()
    pretrained, adapted = card.split("## Training data")[1].split("## Adapted on")
    assert "| elsewhere | EEG | 3 | 9 | 1 | CC-BY-4.0 |" in pretrained
    assert "| made | EEG | 6 | 48 |" in adapted
    assert "| CC0 |" in adapted
    assert "Task: made/state" in adapted
    assert f"Adapted from `{tmp_path / 'base'}`" in card
    assert "\n| steps | 7 |" not in card  # those of the base model are not those of this one


def test_fewer_people_than_folds_is_said(recipe, caplog):
    for folds, said in ((9, True), (6, False)):
        caplog.clear()
        question(AdaptConfig.load(recipe).model_copy(update={"folds": folds}), "debug")
        assert ("9 folds were asked for, the split of these people has 6" in caplog.text) == said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task=made/stat", "no task 'made/stat' in the corpus; did you mean 'made/state'?"),
        ("adaptation=lorra", "unknown adaptation 'lorra'; did you mean 'lora'?"),
        ("adaptatoin=lora", "adaptatoin: unknown key; did you mean 'adaptation'?"),
        ("folds=9", ""),
    ],
)
def test_wrong_recipes_are_one_line_and_write_nothing(change, message, recipe, tmp_path, capsys):
    run = tmp_path / "run"
    code = main(["adapt", str(recipe), "--model", "debug", "--out", str(run), change, "repeats=0"])
    if message:
        assert code == 2
        assert message in capsys.readouterr().err
        assert not run.exists()
    else:  # more folds than people: one person out
        assert code == 0


def test_a_model_that_was_prepared_otherwise_is_refused(recipe, tmp_path, capsys):
    from brainof.contract import InputContract, ModalityContract
    from brainof.model import BrainOF
    from brainof.release import save_release

    steps = default_chain("eeg", {"filter": {"high": 40.0}}).to_steps()
    contract = InputContract(modalities={"eeg": ModalityContract(units={"eeg": "V"}, steps=steps)})
    save_release(tmp_path / "release", BrainOF.from_preset("debug"), contract)
    assert main(["adapt", str(recipe), "--model", str(tmp_path / "release"), "--out", str(tmp_path / "run")]) == 2
    assert "made: prepare: was prepared otherwise" in capsys.readouterr().err


def test_a_score_that_is_undefined_is_printed_as_such(tmp_path, capsys):
    """One subject per fold and a label of subjects: each test side holds one class, so AUC is not defined."""
    rng = np.random.default_rng(0)
    channels = Channels(NAMES, ("eeg",) * 4, electrode_positions(NAMES), frame="head")
    with CorpusWriter(tmp_path / "corpus") as writer:
        about = {"name": "made", "modality": "eeg", "steps": default_chain("eeg").to_steps(), "license": "CC0"}
        tasks = {"tasks": {"q": {"label": "group"}}, "task_views": {"q": "pretrain"}}
        writer.add_dataset("made", {**about, **tasks})
        for number in range(4):
            row = {"dataset": "made", "modality": "eeg", "subject": f"{number}", "sfreq": 256.0, "config": "x"}
            label = {"group": "patient" if number % 2 else "control"}
            windows = [Window(rng.standard_normal((4, 512)).astype(np.float32), 2.0 * k, label) for k in range(3)]
            writer.add({**row, "recording": f"{number}"}, channels, windows)
    (tmp_path / "q.yaml").write_text(f"corpus: {tmp_path / 'corpus'}\ntask: made/q\nfolds: 4\n")
    assert main(["adapt", str(tmp_path / "q.yaml"), "--model", "debug", "--out", str(tmp_path / "run")]) == 0
    assert "auc: undefined" in capsys.readouterr().out.lower()
