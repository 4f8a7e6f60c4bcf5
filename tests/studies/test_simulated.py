from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from studies.oracle import best_of_task, fraction
from studies.simulated import asked, simulated

from brainof.evaluation import Suite, find_suite


def test_the_study_asks_the_suite_and_its_half():
    whole, known = asked(), find_suite("simulated")
    assert set(known.tasks) < set(whole.tasks)
    assert set(whole.tasks) - set(known.tasks) == {f"rest_vs_task_half_{kind}" for kind in ("eeg", "meg", "fmri")}
    for name, task in whole.tasks.items():
        assert (task.name, task.options, task.repeats) == (name, ("recentred",), 1)
    assert whole.tasks["confounded_fmri"].nuisance == "site"


def test_a_score_is_read_as_a_fraction_of_what_is_possible():
    assert fraction(0.7, 0.5, 0.9) == pytest.approx(0.5)
    assert np.isnan(fraction(0.6, 0.5, 0.56))
    found = {name: best_of_task(task) for name, task in asked().tasks.items() if "/diagnosis" in task.recipe}
    assert (found["confounded_eeg"], found["confounded_fmri"]) == (0.5, 0.5)
    assert (found["diagnosis_eeg"], found["diagnosis_fmri"]) == (pytest.approx(0.773, abs=1e-3), 1.0)


@pytest.mark.timeout(300)
def test_the_site_is_caught_and_the_pair_needs_both(tmp_path):
    """From files to the table: a small suite of the two questions that can go wrong."""
    people = {"subjects": 10, "seed": 1}
    site = {"task": "confounded", "changes": {"fmri_blocks": 4, "sources": {"regions": 40}}, **people}
    pair = {"task": "pair", "changes": {"channels": 19, "sfreq": 128, "sources": {"regions": 24}}, **people}
    tasks = {
        "confounded_fmri": {"simulate": site | {"modality": "fmri"}, "recipe": "simulated_fmri/diagnosis"},
        "pair_eeg": {"simulate": pair | {"modality": "eeg"}, "recipe": "simulated_eeg/rest_vs_task"},
        "pair_fmri": {"simulate": pair | {"modality": "fmri"}, "recipe": "simulated_fmri/rest_vs_task"},
    }
    tasks = {name: {**task, "repeats": 1, "options": ["recentred"]} for name, task in tasks.items()}
    tasks["confounded_fmri"]["nuisance"] = "site"
    small = Suite.parse({"name": "small", "version": "0", "title": "Small", "random_weights": 0, "tasks": tasks})
    simulated(tmp_path, lambda _: None, suite=small, n_permutations=19)
    lines = pd.read_csv(tmp_path / "scores.csv")
    found = lines[lines["option"] == "plain"].set_index(["task", "entry"]).T
    site = found["confounded_fmri", "functional connectivity"]
    assert site["fold_score"] > 0.8
    assert site["p_value"] == pytest.approx(0.05)
    assert site["nuisance_p_value"] > 0.9  # nothing can be exchanged: it is the site, or nobody can tell
    assert site["oracle"] == 0.5
    both = found["pair", "with products"]
    assert both["fold_score"] > max(found["pair", "side by side"]["fold_score"], 0.6)
    assert both["oracle"] > found["pair_eeg", "band power"]["oracle"] + 0.15
    assert both["modality"] == "eeg+fmri"
    assert "small 0" in (tmp_path / "report.html").read_text()
