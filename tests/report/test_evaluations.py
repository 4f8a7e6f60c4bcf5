"""The report of what `evaluate` itself wrote, of the small suite of `tests/evaluation`."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from tests.evaluation import test_bench as bench
from tests.report.test_report import data_of

from brainof.evaluation import evaluate
from brainof.report.report import report
from brainof.report.tables import summary_table

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
