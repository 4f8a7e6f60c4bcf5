from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.cli import main
from brainof.corpus import CorpusWriter
from brainof.errors import ConfigError, HealthError
from brainof.prepare import Window, default_chain
from brainof.pretraining import PretrainConfig, tune
from brainof.report.training import tuning

SMALL = {"model": {"preset": "debug"}, "batch_size": 2, "threads": 1, "precision": "float32", "lr": 3e-3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    channels = Channels(list("abc"), ("eeg",) * 3, positions=np.eye(3) / 10, frame="head")
    rng = np.random.default_rng(0)
    with CorpusWriter(root) as writer:
        writer.add_dataset("sim", {"steps": default_chain("eeg").to_steps()})
        for subject in "abcd":
            row = {"dataset": "sim", "modality": "eeg", "subject": subject, "sfreq": 256.0, "recording": subject}
            signals = rng.standard_normal((8, 3, 128)).astype(np.float32)
            windows = [Window(x, float(k), {}, "pretrain") for k, x in enumerate(signals)]
            writer.add({**row, "config": subject}, channels, windows)
    return root


@pytest.fixture
def speeds(monkeypatch):
    """Windows per second by tokens per batch, in place of measured ones; above the last, memory ends."""

    def given(values: dict[int, float]) -> list[dict]:
        asked = []

        def rows(config, corpus, run, changes):
            asked.append(changes)
            if run.name.startswith("lr"):
                loss = abs(np.log10(changes["lr"] / 9e-3))
                return [{"step": step, "loss": loss + 1 / step} for step in range(1, changes["steps"] + 1)]
            if changes["tokens_per_batch"] not in values:
                raise torch.OutOfMemoryError("out of memory")
            speed = values[changes["tokens_per_batch"]]
            slow = {1: speed / 9}  # the first step, which is not counted
            return [{"step": step, "loss": 1.0, "windows_per_second": slow.get(step, speed)} for step in (1, 2)]

        monkeypatch.setattr(tune, "_rows", rows)
        return asked

    return given


@pytest.mark.parametrize(
    ("values", "chosen", "tried"),
    [
        ({12: 10, 24: 19, 48: 19.1, 96: 40}, 24, [12, 24, 48]),  # 48 gains less than 3 %
        ({12: 10, 24: 19}, 24, [12, 24, 48]),  # 48 does not fit
        ({6: 9, 3: 5}, 6, [12, 6, 3]),  # the recipe's own does not fit
    ],
)
def test_the_largest_batch_that_fits_and_pays(speeds, corpus, tmp_path, values, chosen, tried):
    asked = speeds(values)
    config = PretrainConfig.parse({**SMALL, "accumulate": 4})
    found = tune.tune(config, [corpus], tmp_path)
    assert found["tokens_per_batch"] == chosen
    assert found["batch_size"] * found["accumulate"] == 8  # as many windows a step as before
    assert [trial["tokens_per_batch"] for trial in found["batches"]] == tried
    rates = [changes["lr"] for changes in asked if "lr" in changes]
    assert rates == [3e-4, 9e-4, 3e-3, 9e-3, 3e-2]
    assert found["lr"] == 9e-3
    speeds_found = {trial["tokens_per_batch"]: trial["windows_per_second"] for trial in found["batches"]}
    assert speeds_found == {tokens: values.get(tokens) for tokens in tried}
    last = sum(1 / step for step in range(46, 61)) / 15  # the last quarter of 60 steps
    assert [trial["loss"] for trial in found["rates"]] == pytest.approx(
        [abs(np.log10(lr / 9e-3)) + last for lr in rates]
    )
    assert json.loads((tmp_path / "tuning.json").read_text()) == found


def test_nothing_that_fits_is_said(speeds, corpus, tmp_path):
    speeds({})
    with pytest.raises(ConfigError, match="no batch fits into memory"):
        tune.tune(PretrainConfig.parse(SMALL), [corpus], tmp_path)


def test_accumulated_batches_are_rounded(speeds, corpus, tmp_path):
    """Three batches of 2 a step: of 4 they are one and a half, so two; of one they are six."""
    speeds({12: 10, 24: 19})
    found = tune.tune(PretrainConfig.parse({**SMALL, "accumulate": 3}), [corpus], tmp_path)
    assert (found["batch_size"], found["accumulate"]) == (4, 2)
    speeds({6: 9})
    found = tune.tune(PretrainConfig.parse({**SMALL, "accumulate": 3}), [corpus], tmp_path)
    assert (found["batch_size"], found["accumulate"]) == (1, 6)
    speeds({3: 9})
    found = tune.tune(PretrainConfig.parse({**SMALL, "accumulate": 3}), [corpus], tmp_path)
    assert (found["batch_size"], found["accumulate"]) == (1, 12)


@pytest.fixture
def runs(monkeypatch):
    """In place of training: the log of a run whose loss is that of its learning rate, and how it ends."""

    def given(ends: dict[float, str]) -> None:
        def pretrain(config, corpus, run):
            run.mkdir(parents=True)
            rows = [{"step": s, "loss": 1 / config.lr, "windows_per_second": 5.0} for s in range(1, config.steps + 1)]
            lines = [*rows, {"step": config.steps, "health": 1}]
            (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            (run / "checkpoints").mkdir()
            if config.lr in ends:
                raise HealthError(ends[config.lr])

        monkeypatch.setattr(tune, "pretrain", pretrain)

    return given


def test_a_rate_that_diverges_is_a_trial_without_a_loss(runs, corpus, tmp_path):
    """The larger the rate the lower the loss here: the two largest are not finite, the next one has learned nothing
    yet."""
    runs({3e-2: "loss is not finite", 9e-3: "loss is not finite", 3e-3: "the decoder ignores the latents"})
    found = tune.tune(PretrainConfig.parse(SMALL), [corpus], tmp_path, steps=8, doublings=0)
    assert [trial["tokens_per_batch"] for trial in found["batches"]] == [12]  # that of the recipe
    assert [trial["loss"] for trial in found["rates"]] == [pytest.approx(1 / lr) for lr in (3e-4, 9e-4, 3e-3)] + [
        None
    ] * 2
    assert [len(trial["losses"]) for trial in found["rates"]] == [8, 8, 8, 0, 0]
    assert found["lr"] == 3e-3
    assert not list(tmp_path.glob("*/checkpoints"))


def test_no_rate_that_learns_is_said(runs, corpus, tmp_path, monkeypatch):
    runs(dict.fromkeys((0.0003, 0.0009, 0.003, 0.009, 0.03), "loss is not finite"))
    best = {"tokens_per_batch": 12, "batch_size": 2, "accumulate": 1, "windows_per_second": 5.0, "gib": None}
    monkeypatch.setattr(tune, "_batches", lambda *_: iter([best]))
    with pytest.raises(ConfigError, match="lr: no learning rate gives a finite loss; lower lr"):
        tune.tune(PretrainConfig.parse(SMALL), [corpus], tmp_path, steps=4)


def test_trials_are_runs_of_pretrain(corpus, tmp_path):
    """Nothing replaced: two batches and five learning rates of a few steps; same first loss, another last one."""
    config = PretrainConfig.parse(SMALL)
    found = tune.tune(config, [corpus], tmp_path, steps=3, trial_steps=2, doublings=1)
    assert [trial["tokens_per_batch"] for trial in found["batches"]] == [12, 24]
    first, last = ({trial["losses"][place] for trial in found["rates"]} for place in (0, -1))
    assert (len(first), len(last)) == (1, 5)
    assert not list(tmp_path.glob("*/release"))
    figure = tuning(found)
    assert [panel.get_xlabel() for panel in figure.axes] == ["tokens per batch", "step", "learning rate"]


def test_the_command_wants_a_corpus(capsys):
    assert main(["plan", "tiny", "--tune", "out"]) == 2
    assert "--corpus" in capsys.readouterr().err
