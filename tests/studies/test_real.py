"""The tables of the real study are made from its scores, and those of the page from the scores beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies.real import summarised, tables

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def found() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three people, two of whom have the run's features above the random ones; recentred, all are below."""
    about = {"task": "t", "metric": "balanced_accuracy", "readout": "ridge", "chance": 0.5, "fold_sd": 0.1}
    scores = {
        ("run", "model", "plain"): [0.7, 0.8, 0.6],
        ("random weights", "random weights", "plain"): [0.6, 0.75, 0.7],
        ("run", "model", "recentred"): [0.7, 0.8, 0.6],
        ("random weights", "random weights", "recentred"): [0.8, 0.85, 0.7],
        ("chance", "chance", "plain"): [0.5, 0.5, 0.5],
    }
    lines, people = [], []
    for (entry, kind, option), values in scores.items():
        own = {**about, "entry": entry, "kind": kind, "option": option}
        p_value = 0.005 if option == "plain" else None
        lines.append({**own, "score": np.mean(values), "null_95": 0.61, "p_value": p_value})
        people += [{**own, "dataset": "d", "subject": str(i), "score": value} for i, value in enumerate(values)]
    return pd.DataFrame(lines), pd.DataFrame(people)


def test_a_line_of_the_table_is_a_score_and_what_is_paired_with_it(found):
    health = {"d": {"held_out": False, "r2": 0.2412, "r2_shuffled": -0.214, "rank": 3.0}}
    lines = tables(summarised(*found, health)).splitlines()
    assert lines[2:6] == [
        "| t | balanced accuracy | run | 0.700 ± 0.058 | 0.500 | 0.610 | 0.005 |  |  |",
        "| t | balanced accuracy | random weights | 0.683 ± 0.044 | 0.500 | 0.610 | 0.005 | +0.017 ± 0.060 | 2/1, 1 |",
        "| t | balanced accuracy | run (recentred) | 0.700 ± 0.058 | 0.500 | 0.610 |  |  |  |",
        "| t | balanced accuracy | random weights (recentred) | 0.783 ± 0.044 | 0.500 | 0.610 |  | -0.083 ± 0.017 "
        "| 0/3, 0.25 |",
    ]
    assert lines[-1] == "| d | from training | 0.24 (-0.21) |  |  |"


def test_the_page_holds_the_tables_of_its_scores():
    found = json.loads((RESULTS / "real_study.json").read_text())
    assert len(found["scores"]) > 15
    page = (RESULTS / "real_study.md").read_text()
    for table in tables(found).split("\n\n"):
        assert f"\n\n{table.strip()}\n\n" in page
