from __future__ import annotations

import json

import pytest
from studies.__main__ import main
from studies.objective import Ledger
from studies.objective_grid import CELLS, configuration, folds
from studies.objective_tables import identification_table, markdown, overview, paired_rows, per_person

from brainof.model.presets import preset


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_a_run_that_leaves_its_people_out(cell):
    config = configuration(cell, seed=2, excluded=["eegmat/b", "eegmat/a"], steps=50, changes=["lr=0.002"])
    assert config.sampling.exclude == ["eegmat/a", "eegmat/b"]
    assert (config.seed, config.steps, config.lr, config.batch_size) == (2, 50, 0.002, 8)
    overrides = dict(config.model)
    model = preset(overrides.pop("preset"), **overrides)
    assert "waveform" in model.decoder.outputs
    assert config.objective.connectivity == 0 or "connectivity" in model.decoder.outputs


def test_cells_differ_from_each_other():
    runs = {json.dumps(configuration(cell, 0, [], 50).to_dict(), sort_keys=True) for cell in CELLS}
    assert len(runs) == len(CELLS)


def test_folds_hold_everybody_once():
    people = [f"eegmat/{number:02d}" for number in range(18)]
    parts = folds(people * 3)
    assert sorted(person for part in parts for person in part) == people
    assert [len(part) for part in parts] == [6, 6, 6]


def test_a_line_that_was_cut_is_run_again(tmp_path):
    path = tmp_path / "cells.jsonl"
    key = {"cell": "one decoder", "seed": 0, "fold": 1}
    Ledger(path).add({**key, "seconds": 1.0})
    with path.open("a") as file:
        file.write('{"cell": "one deco')
    ledger = Ledger(path)
    assert ledger.has(key)
    assert not ledger.has({**key, "seed": 1})
    ledger.add({**key, "seed": 1})
    assert [row["seed"] for row in Ledger(path).rows] == [0, 1]


ROWS = [
    {"cell": "a", "seed": 0, "fold": 0, "decoding": {"mean_std": {"p": 0.7, "q": 0.6}}, "r2": {"eegmat": {"r2": 0.3}}},
    {"cell": "a", "seed": 1, "fold": 0, "decoding": {"mean_std": {"p": 0.9, "q": 0.8}}, "r2": {"eegmat": {"r2": 0.5}}},
    {"cell": "a", "seed": 1, "fold": 1, "identification": {"gram": {"x": 1.0, "y": 0.5}}},
    {"cell": "b", "fold": 0, "decoding": {"features": {"p": 0.5, "q": 0.75, "r": 0.1}}},
]


def test_scores_are_averaged_over_runs_first_and_over_people_then():
    assert per_person(ROWS, "a", "decoding", "mean_std") == pytest.approx({"p": 0.8, "q": 0.7})
    table = overview(ROWS).set_index("cell")
    assert table.loc["a", "probe, mean + SD"] == "0.750 +- 0.050"
    assert table.loc["a", "R2 eegmat"] == pytest.approx(0.4)
    assert table.loc["b", "probe, concat"].startswith("0.450")
    assert identification_table(ROWS)["gram"].tolist() == [0.75]
    pair = paired_rows(ROWS, "a", ["b"], "decoding", "mean_std").iloc[0]
    assert (pair["people"], pair["wins"], pair["losses"]) == (2, 1, 1)
    assert pair["difference"] == pytest.approx((0.3 - 0.05) / 2)
    assert markdown(table.reset_index()[["cell", "R2 eegmat", "shuffled"]]).splitlines()[2] == "| a | 0.400 |  |"


def test_missing_data_is_one_line(tmp_path, capsys):
    assert main(["objective", "--root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no such dataset folder" in capsys.readouterr().err
    assert main(["objective", "--cells", "three stream", "--out", str(tmp_path / "out")]) == 2
    assert "did you mean 'three streams'" in capsys.readouterr().err
