"""The tables of the real study are made from its scores, and those of the page from the scores beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from studies.real import summarised, tables

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def rows():
    about = {"task": "d/t", "level": "window", "metric": "balanced_accuracy", "recentred": False}
    score = {"row": "score", **about, "group_se": 0.04, "chance": 0.5, "null_95": 0.61, "sd": 0.1}
    paired = {"row": "paired", **about, "features": "pretrained", "se": 0.0213, "wins": 7, "losses": 10}
    return [
        {**score, "features": "pretrained", "score": 0.69512, "p_value": 0.005},
        {**score, "features": "untrained", "score": 0.7061, "p_value": 0.005},
        {**score, "features": "untrained", "score": 0.8, "p_value": None, "recentred": True},
        {**score, "features": "pretrained", "score": 0.9, "metric": "roc_auc"},
        {**score, "features": "chance", "score": 0.5},
        {**paired, "against": "untrained", "difference": -0.0114, "p_value": 0.4},
        {**paired, "against": "untrained", "difference": 0.02, "p_value": 0.04, "recentred": True},
        {**paired, "against": "untrained", "difference": 0.5, "metric": "roc_auc", "p_value": 0.01},
        {"row": "group", **about, "features": "pretrained", "group": "p", "score": 1.0},
    ]


def test_a_line_of_the_table_is_a_score_and_what_is_paired_with_it(rows):
    health = {"d": {"held_out": False, "r2": 0.2412, "r2_shuffled": -0.214, "rank": 3.0}}
    lines = tables(summarised(rows, health)).splitlines()
    assert lines[2:5] == [
        "| d/t | balanced accuracy | pretrained | 0.695 ± 0.040 | 0.500 | 0.610 | 0.005 |  |  |",
        "| d/t | balanced accuracy | untrained | 0.706 ± 0.040 | 0.500 | 0.610 | 0.005 | -0.011 ± 0.021 | 7/10, 0.4 |",
        "| d/t | balanced accuracy | untrained (recentred) | 0.800 ± 0.040 | 0.500 | 0.610 |  | +0.020 ± 0.021 "
        "| 7/10, 0.04 |",
    ]
    assert lines[-1] == "| d | from training | 0.24 (-0.21) |  |  |"


def test_the_page_holds_the_tables_of_its_scores():
    found = json.loads((RESULTS / "real_study.json").read_text())
    assert len(found["scores"]) > 15
    page = (RESULTS / "real_study.md").read_text()
    for table in tables(found).split("\n\n"):
        assert f"\n\n{table.strip()}\n\n" in page
