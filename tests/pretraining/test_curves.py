"""Metrics as curves of Weights & Biases, by a stand-in for its package."""

from __future__ import annotations

import sys
import types

import pytest

from brainof.errors import DependencyError
from brainof.pretraining.config import PretrainConfig
from brainof.pretraining.run_folder import Metrics, open_curves, read_metrics


@pytest.fixture
def wandb(monkeypatch):
    """What was called of the package, in order."""
    calls = []

    class Run:
        def define_metric(self, name, step_metric):
            calls.append(("define_metric", name, step_metric))

        def log(self, values):
            calls.append(("log", values))

        def finish(self):
            calls.append(("finish",))

    def init(**options):
        calls.append(("init", options))
        return Run()

    module = types.ModuleType("wandb")
    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return calls


def test_metrics_go_to_one_run_of_wandb_however_often_it_continues(tmp_path, wandb):
    config = PretrainConfig(wandb=True, lr=0.5)
    rows = [{"step": step, "modality": "eeg", "dataset": "d", "loss": 1.0 / step, "lr": 0.5} for step in (1, 2, 3)]
    health = {"step": 3, "health": {"d": {"r2": 0.25, "modality": "eeg"}}}
    for done, written in ((0, [rows[0], rows[1]]), (1, [rows[1], rows[2], health])):  # killed after step 1
        metrics = Metrics(tmp_path / "metrics.jsonl", done, open_curves(tmp_path, config, done))
        metrics.write(*written)
        metrics.close()
    starts = [values for name, *values in wandb if name == "init"]
    assert starts[0] == starts[1]
    (options,) = starts[0]
    assert (options["project"], options["name"], options["dir"]) == ("brainof", tmp_path.name, str(tmp_path))
    assert options["resume"] == "allow"
    assert options["config"]["lr"] == 0.5
    logged = [values[0] for name, *values in wandb if name == "log"]
    assert [values["step"] for values in logged] == [1, 2, 2, 3, 3]  # drawn over `step`, which may come twice
    assert ("define_metric", "*", "step") in wandb
    assert logged[0] == {"step": 1, "loss/eeg/d": 1.0, "step/step": 1, "step/lr": 0.5}
    assert logged[-1] == {"step": 3, "r2/d": 0.25}
    assert wandb[-1] == ("finish",)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 3]


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DependencyError, match=r"pip install 'brainof\[wandb\]'"):
        open_curves(tmp_path, PretrainConfig(wandb=True), 0)
