"""What a log says of the steps since the last one: sums by dataset over all of them, and the state of the last."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brainof.errors import HealthError
from brainof.model.cost import WindowShape, step_flops
from brainof.pretraining import meter as module
from brainof.pretraining.config import MaskConfig, PretrainConfig
from brainof.pretraining.masking import Masking
from brainof.pretraining.meter import Meter
from brainof.pretraining.objective import Objective
from brainof.pretraining.run import trainer_of

CONFIG = {"steps": 4, "accumulate": 2, "batch_size": 4, "precision": "float32", "threads": 1}


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now.seconds)
    return now


@pytest.mark.parametrize("read_between", [False, True])
def test_a_row_is_the_mean_over_patches_of_all_steps_since_the_last_log(model, make_batch, clock, read_between):
    """Two steps of a batch of EEG (one window has no signal) and one of fMRI (padded); weights are those of step 2."""
    config = PretrainConfig.parse({**CONFIG, "objective": {"alpha": 0.3, "frequency_start": 0.25}})
    objective, masking = Objective(model, config.objective), Masking(MaskConfig(), 64)
    made = []
    for seed in range(2):
        eeg = replace(make_batch("eeg", seed=seed), datasets=("a",) * 4)
        eeg.channel_mask_BC[1] = False
        fmri = replace(make_batch("fmri", lengths=(256, 128), n_channels=5, seed=seed), datasets=("b",) * 2)
        made += [masking.plan(batch, np.random.default_rng(seed)) for batch in (eeg, fmri)]
    meter = Meter(objective, config.steps)
    steps = trainer_of(objective, config, torch.device("cpu")).steps(iter(made))
    done = []
    for number in range(2):
        done.append(next(steps))
        meter.add(done[-1])
        if read_between and not number:  # as a checkpoint does
            state = meter.state_dict()
            meter = Meter(objective, config.steps)
            meter.load_state_dict(state)
    clock.seconds, meter.saving_seconds = 104.0, 1.0
    rows = meter.rows(waited=2.0)
    assert [(row["dataset"], row["modality"], row["batches"]) for row in rows] == [("a", "eeg", 2), ("b", "fmri", 2)]
    for place, row in enumerate(rows):
        n = sum(masked.n_predicted for masked in made[place::2])
        time, frequency = (sum(float(step.losses[place][name]) for step in done) / n for name in ("time", "frequency"))
        assert (row["loss_time"], row["loss_frequency"]) == (pytest.approx(time), pytest.approx(frequency))
        assert row["loss"] == pytest.approx(0.7 * time + 0.3 * frequency)
        assert row["loss_step"] == pytest.approx(float(done[1].loss))
        assert (row["grad_norm"], row["lr"]) == (pytest.approx(float(done[1].norm)), done[1].lr)
        assert row["windows_per_second"] == pytest.approx(2 * (3 + 2) / 4)
        assert row["tokens_per_second"] == pytest.approx(2 * (3 * 6 * 4 + 2 * 5 * 4) / 4)
        assert row["padding"] == pytest.approx(10 / (72 + 40))
        assert (row["imbalance"], row["skipped"]) == (0, 2)
        assert (row["data_wait"], row["checkpoint_wait"]) == (0.5, 0.25)
        flops = 0.0
        for masked in made:
            B, C, _ = masked.batch.signal_BCT.shape
            shape = WindowShape(C, 4, masked.visible_BV.shape[1], masked.predicted_BH.shape[1])
            flops += sum(step_flops(model.config, shape, B, False).values())
        assert row["tflops_per_device"] == pytest.approx(flops / 4 / 1e12)
        assert "rank" not in row  # of two windows there is none to speak of
    meter.add(next(trainer_of(objective, config, torch.device("cpu")).steps(iter(made[:2]))))
    clock.seconds = 106.0
    later = meter.rows(waited=2.5)  # from nothing on
    assert [row["batches"] for row in later] == [1, 1]
    assert (later[0]["skipped"], later[0]["data_wait"], later[0]["checkpoint_wait"]) == (1, 0.25, 0.0)
    assert later[0]["windows_per_second"] == 2.5


STEPS = 5


@pytest.fixture
def run(model):
    """An objective, and a function that takes its steps."""
    config = PretrainConfig.parse({"steps": STEPS, "batch_size": 3, "accumulate": 1})
    objective = Objective(model, config.objective)
    return objective, trainer_of(objective, config, torch.device("cpu")).steps


def masked(make_batch, number):
    return Masking(MaskConfig(), 64).plan(make_batch(n_windows=3, seed=number), np.random.default_rng(number))


def test_a_log_interval_keeps_no_batch_but_all_of_its_sums(run, make_batch):
    objective, steps = run
    meter, seen, expected = Meter(objective, STEPS), [], []

    def batches():
        for number in range(STEPS):
            batch = masked(make_batch, number)
            seen.append(weakref.ref(batch))
            yield batch

    for step in steps(batches()):
        meter.add(step)
        expected.append([step.losses[0]["time"].item(), step.batches[0].n_predicted])
    del step
    gc.collect()
    assert [reference() for reference in seen] == [None] * STEPS
    (row,) = meter.rows(0.0)
    losses, patches = np.sum(expected, axis=0)
    assert row["loss_time"] == pytest.approx(losses / patches)
    assert row["batches"] == STEPS


def test_a_step_that_is_not_finite_still_names_its_windows(run, make_batch):
    objective, steps = run
    meter = Meter(objective, STEPS)
    for step in steps(masked(make_batch, number) for number in range(STEPS)):
        if step.number == 2:
            step.losses[0]["loss"].fill_(torch.nan)
            bad = step.batches[0].source
        meter.add(step)
    with pytest.raises(HealthError, match="loss nan.* at step 2") as caught:
        meter.rows(0.0)
    assert bad in caught.value.problem
