from __future__ import annotations

import json

import numpy as np
import pytest
from studies.simulated import simulated
from studies.suite import SIMULATED, Suite, SuiteTask, fraction, oracle


def test_the_suite_asks_what_it_says():
    assert (SIMULATED.name, SIMULATED.version) == ("simulated", "1.0")
    names = [task.name for task in SIMULATED.tasks]
    assert {"rest_vs_task", "frequency", "topography", "pair", "diagnosis", "confounded", "null"} <= set(names)
    for task in SIMULATED.tasks:
        assert task.parameters(4, 0).subjects == 4
        assert Suite.parse({**SIMULATED.to_dict(), "tasks": [task.to_dict()]}).tasks[0] == task


def test_a_score_is_read_as_a_fraction_of_what_is_possible():
    assert fraction(0.7, 0.5, 0.9) == pytest.approx(0.5)
    assert np.isnan(fraction(0.6, 0.5, 0.56))
    by_name = {task.name: task for task in SIMULATED.tasks}
    assert oracle(by_name["confounded"], 4, 0) == {"eeg": 0.5, "fmri": 0.5}
    assert oracle(by_name["diagnosis"], 4, 0) == {"eeg": pytest.approx(0.773, abs=1e-3), "fmri": 1.0}


@pytest.mark.timeout(300)
def test_the_site_is_caught_and_the_pair_needs_both(tmp_path):
    """From files to the table: a small suite of the two questions that can go wrong."""
    small = Suite(
        name="small",
        version="0",
        subjects=10,
        seed=1,
        tasks=(
            SuiteTask(
                name="confounded",
                asks="the site",
                cohort="confounded",
                changes={"fmri_blocks": 4, "sources": {"regions": 40}},
                modalities=("fmri",),
                recipe_task="diagnosis",
                nuisance="site",
            ),
            SuiteTask(
                name="pair",
                asks="both",
                cohort="pair",
                changes={"channels": 19, "sfreq": 128, "sources": {"regions": 24}},
                modalities=("eeg", "fmri"),
                together=True,
            ),
        ),
    )
    simulated(tmp_path, lambda _: None, suite=small, n_permutations=19)
    rows = json.loads((tmp_path / "scores.json").read_text())
    found = {(r["suite_task"], r["modality"], r["features"]): r for r in rows if not r["recentred"]}
    site = found["confounded", "fmri", "functional connectivity"]
    assert site["score"] > 0.8
    assert site["p_value"] == pytest.approx(0.05)
    assert site["nuisance_p_value"] > 0.9  # nothing can be exchanged: it is the site, or nobody can tell
    assert site["oracle"] == 0.5
    both = found["pair", "eeg+fmri", "with products"]
    assert both["score"] > max(found["pair", "eeg+fmri", "side by side"]["score"], 0.6)
    assert both["oracle"] > found["pair", "eeg", "band power"]["oracle"] + 0.15
    assert "small 0" in (tmp_path / "report.html").read_text()
