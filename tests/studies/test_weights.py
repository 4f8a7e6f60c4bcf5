"""What the card of the shipped weights says of an evaluation."""

from __future__ import annotations

import pandas as pd
import pytest
from studies.weights import gain_rows, weights

from brainof.errors import ReadError


def test_each_task_has_its_first_read_out_beside_random_weights_and_the_best_classical_features():
    columns = ["task", "entry", "kind", "readout", "option", "score", "n_people", "unfinished", "gain", "gain_low_any"]
    rows = [
        ["heat", "run", "model", "ridge", "plain", 0.8, 4, 0, 0.1, -0.05],
        ["heat", "run", "model", "ridge", "erased", 0.99, 4, 0, 0.3, 0.2],
        ["heat", "run", "model", "second_order", "plain", 0.9, 4, 0, 0.2, 0.1],
        ["heat", "random weights", "random weights", "second_order", "plain", 0.6, 4, 0, None, None],
        ["heat", "random weights", "random weights", "ridge", "plain", 0.7, 4, 0, None, None],
        ["heat", "amplitude", "classical", "ridge", "plain", 0.6, 4, 0, None, None],
        ["heat", "block means", "classical", "ridge", "plain", 0.85, 4, 0, None, None],
        ["heat", "chance", "chance", "chance", "plain", 0.5, 4, 0, None, None],
        ["age", "run", "model", "ridge", "plain", None, 4, 0, None, None],  # refused
        ["sex", "run", "model", "ridge", "plain", 0.7, 4, 3, 0.1, 0.0],  # unfinished
    ]
    table = pd.DataFrame(rows, columns=columns).assign(metric="balanced_accuracy", gain_high_any=0.25)
    (row,) = gain_rows(table)
    assert row == {
        "task": "heat",
        "metric": "balanced_accuracy",
        "people": 4,
        "score": 0.8,
        "random": 0.7,
        "gain": 0.1,
        "gain_low": -0.05,
        "gain_high": 0.25,
        "classical": 0.85,
        "classical_name": "block means",
        "chance": 0.5,
    }


def test_a_missing_dataset_is_named_before_anything_is_done(tmp_path):
    with pytest.raises(ReadError, match="eegmat: no such dataset folder"):
        weights(tmp_path, tmp_path / "out", print, changes=[])
    assert not (tmp_path / "out").exists()
