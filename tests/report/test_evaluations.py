"""The report of what `evaluate` itself wrote, of the small suite of `tests/evaluation`."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from tests.evaluation import test_bench as bench
from tests.report.test_report import data_of

from brainof.evaluation import evaluate
from brainof.report.report import report
from brainof.report.results import paired_lines
from brainof.report.tables import gain_rows, paired_table, summary_table

alpha = bench.alpha


@pytest.fixture(scope="module")
def evaluated(alpha, tmp_path_factory):
    return evaluate(bench.suite(alpha), "debug", tmp_path_factory.mktemp("evaluated"), root=alpha).folder


def test_random_weights_won_nothing(evaluated, tmp_path):
    out = report([evaluated], tmp_path / "page.html")
    page, (part,) = out.read_text(), data_of(out)["parts"]
    assert (part["kind"], part["against_random_weights"]) == ("evaluation", [])
    assert 'class="lead">The models here have random weights' in page
    assert "pretraining won" not in page
    for text in ("amplitude", "age alone", "balanced accuracy", "debug (random weights): never trained"):
        assert text in page, text
    assert "Task far is not in the table: no folder seed_v in " in page
    assert "<dt>seed</dt><dd>0, 1</dd>" in page  # of the two initialisations
    scores = {(row["entry"], row["option"]): row["score"] for row in part["summary"]}
    assert scores["chance", "plain"] == 0.5
    assert scores["amplitude", "plain"] > 0.8


@pytest.mark.parametrize(("low_any", "verdict"), [(-0.02, "open"), (0.01, "won")])
def test_a_win_is_outside_zero_over_initialisations_too(evaluated, tmp_path, low_any, verdict):
    folder = tmp_path / "trained"
    shutil.copytree(evaluated, folder)
    table = pd.read_csv(folder / "summary.csv")
    own = (table["kind"] == "model") & (table["option"] == "plain")
    table.loc[table["kind"] == "model", "entry"] = "mine"
    table.loc[own, ["gain", "gain_low", "gain_high", "gain_low_any", "gain_high_any"]] = [0.1, 0.05, 0.15, low_any, 0.2]
    table.to_csv(folder / "summary.csv", index=False)
    part = data_of(report([folder], tmp_path / "page.html"))["parts"][0]
    found = {(gain["task"], gain["entry"]): gain["verdict"] for gain in part["against_random_weights"]}
    assert found["state (ridge)", "mine"] == verdict
    assert {entry for _, entry in found} == {"mine"}  # what classical features differ by is no gain of pretraining


def test_the_summary_of_a_page_fits():
    row = {"task": "a", "entry": "m", "readout": "ridge", "option": "plain", "metric": "kappa", "score": 0.5,
           "low": 0.4, "high": 0.6, "chance": 0.5, "gain": None, "gain_low": None, "gain_high": None, "n_people": 3,
           "transductive": False, "reason": None}  # fmt: skip
    found = summary_table(pd.DataFrame([row, {**row, "gain": 0.1, "gain_low": -0.0123, "gain_high": 0.2}]))
    assert list(found) == [
        "task", "entry", "score", "95 %", "gain", "gain, 95 %", "chance", "metric", "read-out", "subjects"
    ]  # fmt: skip
    assert found["95 %"].tolist() == ["0.400 to 0.600"] * 2
    assert found["gain, 95 %"].isna().tolist() == [True, False]
    assert found["gain, 95 %"][1] == "-0.012 to 0.200"
    kept = summary_table(pd.DataFrame([row, {**row, "option": "recentred", "transductive": True}]))
    assert kept["read-out"].tolist() == ["ridge", "ridge, recentred"]
    assert "transductive" in kept


def told(metric: str = "mae") -> tuple[pd.DataFrame, pd.DataFrame]:
    """A model, its random weights and a baseline, three people, read out by ridge (also recentred) and by lora."""
    scores = {
        ("m", "model", "ridge", "plain"): [1.0, 2.0, 3.0],
        ("m", "model", "ridge", "recentred"): [1.0, 1.0, 1.0],
        ("m", "model", "lora", "plain"): [0.5, 0.5, 0.5],
        ("other (random weights)", "model", "ridge", "plain"): [9.0, 9.0, 9.0],
        ("random", "random weights", "ridge", "plain"): [2.0, 4.0, 3.0],
        ("random", "random weights", "lora", "plain"): [0.5, 1.0, 1.5],
        ("f", "classical", "ridge", "plain"): [0.5, 2.5, float("nan")],
        ("chance", "chance", "chance", "plain"): [4.0, 4.0, 4.0],
    }
    lines, people = [], []
    for (entry, kind, readout, option), values in scores.items():
        own = {"task": "t", "modality": "eeg", "entry": entry, "kind": kind, "readout": readout, "option": option}
        own |= {"metric": metric, "chance": 4.0, "against": "random" if kind == "model" else None}
        gain = {"gain": 1.0, "gain_low": 0.5, "gain_high": 1.5, "gain_low_any": None, "gain_high_any": None}
        lines.append({**own, "score": pd.Series(values).mean()} | (gain if kind == "model" else {}))
        people += [{**own, "dataset": "d", "subject": str(i), "score": value} for i, value in enumerate(values)]
    return pd.DataFrame(lines), pd.DataFrame(people)


def test_a_model_is_paired_with_all_that_was_read_out_the_same_way():
    table = paired_table(*told())
    assert list(table) == ["task", "read-out", "against", "difference", "SE", "wins", "losses", "p (Wilcoxon)"]
    rows = table.set_index(["read-out", "against"])
    assert list(rows.index) == [
        ("ridge", "other (random weights)"), ("ridge", "random"), ("ridge", "f"), ("lora", "random")
    ]  # fmt: skip
    assert rows.loc[("ridge", "random"), ["difference", "wins", "losses"]].tolist() == [1.0, 2, 0]  # less is better
    assert rows.loc[("ridge", "f"), ["difference", "wins", "losses"]].tolist() == [0.0, 1, 1]  # of two people
    other = paired_table(*told("r2")).set_index(["read-out", "against"])
    assert other.loc[("ridge", "random"), ["difference", "wins", "losses"]].tolist() == [-1.0, 0, 2]
    assert paired_table(told()[0], pd.DataFrame()).empty
    lines, people = (table.replace({"entry": {"f": "m2"}, "kind": {"classical": "model"}}) for table in told())
    pairs = paired_table(lines, people)[["model", "against"]].apply(tuple, axis=1)
    assert (("m", "m2") in set(pairs), ("m2", "m") in set(pairs)) == (True, False)


def test_lines_join_a_model_with_its_random_weights():
    figure = paired_lines(*told())
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == ["random", "m"]
    assert [line.get_ydata().tolist() for line in panel.lines[:3]] == [[2.0, 1.0], [4.0, 2.0], [3.0, 3.0]]
    assert panel.lines[3].get_ydata().tolist() == [3.0, 2.0]  # the mean
    lines, people = told()
    assert paired_lines(lines, people[people["kind"] != "random weights"]) is None
    assert paired_lines(lines, pd.DataFrame()) is None


def test_gains_name_the_read_out_and_leave_out_what_was_never_trained():
    assert [gain["task"] for gain in gain_rows(told()[0])] == ["t (ridge)", "t (ridge, recentred)", "t (lora)"]
