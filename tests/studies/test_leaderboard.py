"""The leaderboard: published figures as they are, own results from a folder, never in one table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from studies.__main__ import main
from studies.leaderboard import FIGURES

from brainof.evaluation import find_suite
from brainof.schema import read_yaml

PAGE = Path(__file__).parents[2] / "docs" / "results" / "leaderboard.md"


def folder_of_results(folder: Path, version: str = "1.0") -> Path:
    """What `brainof evaluate brainof-bench` leaves: two tasks scored, one of them by one model."""
    folder.mkdir()
    (folder / "suite.json").write_text(json.dumps({"name": "brainof-bench", "version": version}))
    base = {"readout": "full", "option": "plain", "unfinished": 0, "reason": ""}
    pd.DataFrame(
        [
            {"task": "tuab", "entry": "mine", "kind": "model", "metric": "balanced_accuracy", **base}
            | {"fold_score": 0.81234, "fold_sd": 0.0123},
            {"task": "tuab", "entry": "EEGNet", "kind": "network", "metric": "balanced_accuracy", **base}
            | {"reason": "too | short"},
            {"task": "camcan_meg", "entry": "mine", "kind": "model", "metric": "mae", **base}
            | {"fold_score": 9.876, "fold_sd": float("nan"), "unfinished": 2},
        ]
    ).to_parquet(folder / "summary.parquet")
    return folder


def tables(page: str) -> list[str]:
    return [part for part in page.split("\n\n") if part.startswith("|")]


def test_own_results_stand_apart_from_the_published(tmp_path, capsys):
    results = folder_of_results(tmp_path / "bench")
    assert main(["leaderboard", "--out", str(tmp_path), "--results", str(results)]) == 0
    page = (tmp_path / "leaderboard.md").read_text()
    (published,) = [table for table in tables(page) if "Brain-JEPA" in table]
    (ours,) = [table for table in tables(page) if "**mine**" in table]
    assert "mine" not in published
    assert ours.splitlines()[0] == "| entry | read-out | tuab ↑ | camcan_meg ↓ |"
    assert "| **mine** | full | 81.23 ± 1.23 | 9.88 (2 runs unfinished) |" in ours
    assert "| EEGNet | full | too / short |  |" in ours
    assert "| tuab | TUAB, abnormality detection | the published one" in page
    assert page.count("run, see above") == 2


def test_the_best_of_each_published_setting_is_bold_whichever_way_is_better():
    published = read_yaml(FIGURES)
    assert list(published["tasks"]) == list(find_suite("brainof-bench@1.0").tasks)[:9]
    (table,) = [part for part in tables(PAGE.read_text()) if "Brain-JEPA" in part]
    huge = next(row for row in table.splitlines() if row.startswith("| Brain-OF Huge"))
    assert huge.count("**") / 2 == 7
    assert "| 9.51 ± 0.51 | **7.87 ± 0.22** |" in huge
    assert all(len(row) == 9 for row in published["results"].values())


def test_the_page_in_the_repository_is_what_the_command_writes(tmp_path):
    assert main(["leaderboard", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "leaderboard.md").read_text() == PAGE.read_text()


@pytest.mark.parametrize(("version", "message"), [("2.0", "results of brainof-bench 2.0"), ("", "holds no results of")])
def test_a_folder_of_something_else_is_one_line(tmp_path, capsys, version, message):
    folder = folder_of_results(tmp_path / "bench", version) if version else tmp_path
    assert main(["leaderboard", "--out", str(tmp_path), "--results", str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
