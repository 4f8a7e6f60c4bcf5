"""A gain over people, seeds and initialisations, and what the page makes of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from studies.seeds import gain, page, table, verdict


def test_the_variance_of_a_gain_is_that_over_people_seeds_and_initialisations():
    models = pd.DataFrame([[0.9, 0.7], [0.7, 0.5], [0.8, 0.6]])  # seeds .8, .6, .7; people .8, .6
    random = pd.DataFrame([[0.5, 0.4], [0.4, 0.5]])  # initialisations .45, .45; people .45, .45
    found = gain(models, random)
    people, seeds = np.var([0.35, 0.15], ddof=1) / 2, 0.1**2 / 3
    assert found["gain"] == pytest.approx(0.25)
    assert found["se"] == pytest.approx(np.sqrt(people + seeds))
    freedom = (people + seeds) ** 2 / (people**2 / 1 + seeds**2 / 2)
    assert found["high"] == pytest.approx(0.25 + student.ppf(0.975, freedom) * found["se"])
    assert found["high_people"] == pytest.approx(0.25 + student.ppf(0.975, 1) * np.sqrt(people))
    assert found["wins"] == 2


def test_one_seed_has_no_standard_error():
    found = gain(pd.DataFrame([[0.9, 0.7]]), pd.DataFrame([[0.5, 0.4], [0.4, 0.5]]))
    assert found["gain"] == pytest.approx(0.35)
    assert np.isnan(found["se"])
    assert np.isnan(found["low"])


def test_draws_of_another_population_are_covered_as_often_as_the_interval_says():
    rng, inside = np.random.default_rng(0), []
    for _ in range(100):
        people = rng.normal(0.2, 0.1, 6)
        models = pd.DataFrame(people + rng.normal(0.5, 0.08, (3, 1)) + rng.normal(0, 0.02, (3, 6)))
        random = pd.DataFrame(rng.normal(0.5, 0.08, (3, 1)) + rng.normal(0, 0.02, (3, 6)))
        found = gain(models, random)
        inside.append(found["low"] < 0.2 < found["high"])
    assert 0.92 < np.mean(inside) < 0.99


@pytest.fixture
def results() -> pd.DataFrame:
    """Two people; two seeds after 10 steps, one of them after 5; random weights; what must not be read."""
    rows = []
    for entry, kind, seed, scores in [
        ("pretrained", "model", 0, (0.9, 0.8)),
        ("seed-1", "model", 0, (0.8, 0.7)),
        ("seed-1-5", "model", 0, (0.6, 0.5)),
        ("random weights", "random weights", 0, (0.5, 0.4)),
        ("random weights", "random weights", 1, (0.4, 0.4)),
        ("amplitude", "classical", 0, (0.6, 0.6)),
    ]:
        for readout, option, add in (("ridge", "plain", 0.0), ("ridge", "erased", 9.0), ("second_order", "plain", 9.0)):
            if kind != "classical" or readout == "ridge":
                for subject, score in zip("ab", scores, strict=True):
                    rows.append(["heat", "balanced_accuracy", entry, kind, readout, option, seed, subject, score + add])
    columns = ["task", "metric", "entry", "kind", "readout", "option", "seed", "subject", "score"]
    return pd.DataFrame(rows, columns=columns)


def test_a_task_has_its_first_read_out_on_plain_features_by_steps(results):
    names = {"pretrained": (0, 10), "seed-1": (1, 10), "seed-1-5": (1, 5)}
    early, late = table(results, names).to_dict("records")
    assert (early["steps"], early["seeds"], early["each"]) == (5, 1, "0.550")
    assert (late["steps"], late["seeds"], late["each"]) == (10, 2, "0.850 0.750")
    assert late["score"] == pytest.approx(0.8)
    assert late["random"] == pytest.approx(0.425)
    assert late["gain"] == pytest.approx(0.375)
    assert (late["classical"], late["classical_name"]) == (pytest.approx(0.6), "amplitude")


def test_the_page_says_which_tasks_are_above_two_standard_errors(results):
    whole = table(results, {"pretrained": (0, 10), "seed-1": (1, 10)})
    text = page(whole, table(results, {"seed-1": (1, 10), "seed-1-5": (1, 5)}))
    assert "Above random weights by more than two standard errors: heat; below: nothing; neither: nothing." in text
    assert "| heat | balanced accuracy | 2 | 0.850 0.750 | 0.800 (0.071) | 0.425 (0.035) | +0.375 [" in text
    assert "| task | 5 steps | 10 steps |" in text


def test_a_verdict_tells_losses_from_what_is_level():
    frame = pd.DataFrame({"task": ["won", "lost", "level"], "gain": [0.3, -0.3, 0.1], "se": [0.1, 0.1, 0.1]})
    expected = "Above random weights by more than two standard errors: won; below: lost; neither: level."
    assert verdict(frame) == expected
