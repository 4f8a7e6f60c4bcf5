from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import ranks

import brainof
from brainof.channels import Channels
from brainof.corpus import CorpusWriter, open_corpora
from brainof.errors import CheckpointError, ConfigError, HealthError
from brainof.prepare import Window, default_chain
from brainof.pretraining import PretrainConfig, pretrain
from brainof.pretraining.run import Run
from brainof.pretraining.run_folder import locked, read_metrics

DEBUG = {
    "model": {"preset": "debug"},
    "batch_size": 4,
    "log_every": 2,
    "health_every": 4,
    "checkpoint_every": 2,
    "health_grace": 1.0,
    "health_margin": 0.0,
    "precision": "float32",
    "threads": 1,
    "sampling": {"validation": 0.0},
}


def config(steps: int = 8, **changes) -> PretrainConfig:
    return PretrainConfig.parse({**DEBUG, "steps": steps, **changes})


def weights(run: Path) -> dict[str, torch.Tensor]:
    return brainof.load(run)[0].state_dict()


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> Path:
    return pretrain(config(), corpus, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A finished run that may be spoilt."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.parametrize(("emulated", "asked"), [(True, "bfloat16"), (True, "auto"), (False, "bfloat16")])
def test_bfloat16_where_it_is_emulated_is_warned_of(corpus, tmp_path, caplog, monkeypatch, emulated, asked):
    for module in ("run", "trainer"):
        monkeypatch.setattr(f"brainof.pretraining.{module}.multiplies_in_bfloat16", lambda device: not emulated)
    pretrain(config(steps=1, precision=asked), corpus, tmp_path / "run")
    assert ("bfloat16 is emulated on this processor" in caplog.text) == (emulated and asked == "bfloat16")


def test_a_run_leaves_config_metrics_checkpoints_and_a_release(run):
    rows = read_metrics(run / "metrics.jsonl")
    losses = [row for row in rows if "loss" in row]
    assert {row["modality"] for row in losses} == {"eeg", "meg", "fmri"}
    assert all(np.isfinite(row["loss"]) for row in losses)
    health = [row["health"] for row in rows if "health" in row]
    assert set(health[-1]) == {"sim-eeg", "sim-meg", "sim-fmri"}
    assert {"r2", "r2_shuffled", "r2_log_spectrum"} <= set(health[-1]["sim-eeg"])
    model, contract = brainof.load(run)
    assert not model.training
    assert set(contract.modalities) == {"eeg", "meg", "fmri"}
    assert contract.modalities["eeg"].steps == default_chain("eeg").to_steps()
    best = json.loads((run / "checkpoints" / "best.json").read_text())
    scores = [np.mean([row["r2"] for row in each.values()]) for each in health]
    assert best["score"] == pytest.approx(max(scores), abs=1e-5)
    kept = {"best.json", "latest", "step-6", "step-8", f"step-{best['step']}"}
    assert {path.name for path in (run / "checkpoints").iterdir()} == kept
    moved = max(block.ffn.selection_bias.abs().max().item() for block in model.blocks)
    assert moved == pytest.approx(8e-3, rel=0.7)  # the balance bias moves once per step


UNEVEN = {"log_every": 3, "checkpoint_every": 2, "loader": {"threads": 2, "prefetch": 3}}


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> Path:
    return pretrain(config(**UNEVEN), corpus, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("stop", [2, 5])
def test_resume_is_bit_exact(corpus, whole, tmp_path, stop, monkeypatch, power_cut, caplog):
    """Weights and metrics of a run that was cut, also where checkpoints are no multiple of the log interval."""
    with monkeypatch.context() as patched:
        power_cut(patched, stop)
        with pytest.raises(RuntimeError, match="power cut"):
            pretrain(config(**UNEVEN), corpus, tmp_path / "cut")
    with caplog.at_level("INFO", logger="brainof.pretraining.run"):
        resumed = pretrain(config(**{**UNEVEN, "loader": {"prefetch": 0}}), corpus, tmp_path / "cut")
    assert f"goes on after step {stop // 2 * 2}" in caplog.text
    again = weights(resumed)
    for name, value in weights(whole).items():
        assert torch.equal(value, again[name]), name
    timing = ("seconds", "windows_per_second", "tokens_per_second", "tflops_per_device", "data_wait", "checkpoint_wait")
    pair = [
        [{key: value for key, value in row.items() if key not in timing} for row in read_metrics(run / "metrics.jsonl")]
        for run in (whole, resumed)
    ]
    assert pair[0] == pair[1]


def test_a_run_that_failed_its_health_check_stays_failed(corpus, tmp_path):
    """Called again it fails again, without a release, at an early check as at the last one; other settings go on."""
    for name, grace in (("early", 0.4), ("late", 1.0)):
        demanding = {"steps": 8, "health_grace": grace, "health_margin": 0.5, "lr": 1e-9}
        for _ in range(2):
            with pytest.raises(HealthError, match="decoder ignores the latents"):
                pretrain(config(**demanding), corpus, tmp_path / name)
            assert not (tmp_path / name / "release").exists()
        with pytest.raises(ConfigError, match="seed: the run was started with 0, not 1"):
            pretrain(config(**demanding, seed=1), corpus, tmp_path / name)
        pretrain(config(**{**demanding, "health_margin": 0.0}), corpus, tmp_path / name)
        assert (tmp_path / name / "release").is_dir()


def test_a_trial_that_learns_nothing_ends_well_and_its_release_says_so(corpus, tmp_path, caplog):
    """Without a margin that was asked for; the same settings and enough steps are no trial."""
    nothing = {"health_margin": None, "lr": 1e-9, "health_grace": 0.5}
    run = pretrain(config(4, **nothing), corpus, tmp_path / "run")
    assert caplog.text.count("decoder ignores the latents") == 1
    about = json.loads((run / "release" / "config.json").read_text())["about"]
    assert "decoder ignores the latents" in about["trial"]
    assert "A trial of 4 steps, not for use: nothing was learned yet" in (run / "release" / "README.md").read_text()
    caplog.clear()
    pretrain(config(4, **nothing), corpus, run)  # again: as before
    brainof.load(run)
    assert "run is a trial run: nothing was learned yet" in caplog.text
    assert not config(200, **nothing).trial
    assert config(200, **nothing).margin == 0.01
    assert not config(4, health_margin=0.01).trial


def test_a_run_that_diverged_goes_on_with_a_lower_learning_rate(corpus, tmp_path):
    diverging = {"steps": 8, "lr": 1e30, "warmup": 0.0, "clip": 1e30}
    with pytest.raises(HealthError, match=r"gradient norm .* at step \d+ \(sim-.* rows \["):
        pretrain(config(**diverging), corpus, tmp_path / "run")
    with pytest.raises(HealthError, match="this run failed: loss .*; continue it with another lr"):
        pretrain(config(**diverging), corpus, tmp_path / "run")
    pretrain(config(**{**diverging, "lr": 1e-3}), corpus, tmp_path / "run")
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


def test_a_run_is_not_continued_on_another_corpus(corpus, tmp_path):
    run = pretrain(config(steps=2), corpus, tmp_path / "run")
    shutil.copytree(corpus, tmp_path / "grown")
    with CorpusWriter(tmp_path / "grown") as writer:
        channels = Channels([f"e{i}" for i in range(8)], ("eeg",) * 8)
        row = {"dataset": "sim-eeg", "modality": "eeg", "subject": "new", "sfreq": 256.0}
        data = np.random.default_rng(1).standard_normal((3, 8, 256)).astype(np.float32)
        windows = [Window(values, float(k), {}, "pretrain") for k, values in enumerate(data)]
        writer.add(row | {"recording": "new", "config": "new"}, channels, windows)
    with pytest.raises(CheckpointError, match="other windows .sim-eeg had 48 windows, has 51.; continue it with"):
        pretrain(config(steps=2), tmp_path / "grown", run)


def test_a_foreign_process_group_is_refused(corpus, tmp_path):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        with pytest.raises(ConfigError, match="one of 1 is initialised"):
            pretrain(config(steps=2), corpus, tmp_path / "run")
    finally:
        torch.distributed.destroy_process_group()
    assert not (tmp_path / "run").exists()


def test_a_run_leaves_the_state_of_torch_alone(corpus, tmp_path):
    torch.manual_seed(3)
    expected, count = torch.rand(4), torch.get_num_threads()
    torch.manual_seed(3)
    pretrain(config(steps=2, threads=count + 1), corpus, tmp_path / "run")
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == count


def test_seeds_and_epochs_differ(corpus, tmp_path):
    """Weights and masks follow the seed; the same window has another mask in another epoch, but not at another step."""
    from brainof.corpus import open_corpora

    corpora = open_corpora(corpus)
    one, two = (
        Run(config(seed=seed, min_channels=1.0, mask={"fourier_ratio": 0}), corpora, tmp_path) for seed in (0, 1)
    )
    assert not torch.equal(one.model.latents_LD, two.model.latents_LD)
    batch = corpora.batch([0, 1, 2, 3])
    planners = [run.loader().transform for run in (one, one, two)]
    first, second, other = (planner(batch, epoch, 0) for planner, epoch in zip(planners, (0, 1, 0), strict=True))
    assert torch.equal(first.predicted_BH, planners[0](batch, 0, 5).predicted_BH)
    assert not torch.equal(first.predicted_BH, second.predicted_BH)
    assert not torch.equal(first.predicted_BH, other.predicted_BH)


def test_masks_do_not_depend_on_accumulation_nor_on_loader_threads(corpus, tmp_path):
    from itertools import islice

    from brainof.corpus import open_corpora

    seen = []
    for accumulate, loader in ((1, {"prefetch": 0}), (4, {"threads": 3, "prefetch": 5})):
        run = Run(
            config(8 // accumulate, accumulate=accumulate, max_tokens=12, loader=loader), open_corpora(corpus), tmp_path
        )
        seen.append(list(islice(iter(run.loader()), 8)))
    for one, two in zip(*seen, strict=True):
        assert torch.equal(one.predicted_BH, two.predicted_BH)
        assert torch.equal(one.batch.signal_BCT, two.batch.signal_BCT)


def test_health_is_that_of_held_out_subjects(corpus, tmp_path, monkeypatch):
    from brainof.corpus import open_corpora
    from brainof.pretraining import run as module

    run = Run(config(sampling={"validation": 0.34}), open_corpora(corpus), tmp_path)
    seen = []
    monkeypatch.setattr(module, "check_batch", lambda objective, masked, people: seen.append(masked.batch.rows) or {})
    health = run.health()
    assert all(row["held_out"] for row in health.values())
    assert {row for rows in seen for row in rows} <= set(run.held_out.index)
    assert {row for rows in seen for row in rows}.isdisjoint(run.train_rows.index)


def test_windows_without_signal_end_no_run(tmp_path):
    """Four electrodes and one patch; one subject has one good electrode, and one window is all bad."""
    rng = np.random.default_rng(0)
    with CorpusWriter(tmp_path / "corpus") as writer:
        writer.add_dataset("clips", {"steps": default_chain("eeg").to_steps()})
        channels = Channels(list("abcd"), ("eeg",) * 4)
        for subject, good in enumerate(([1, 1, 1, 1], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0])):
            row = {"dataset": "clips", "modality": "eeg", "subject": str(subject), "sfreq": 256.0}
            row |= {"recording": str(subject), "config": str(subject)}
            windows = [
                Window(rng.standard_normal((4, 64)).astype(np.float32), float(k), {}, "pretrain") for k in range(8)
            ]
            writer.add(row, channels, windows, good=np.array(good, bool))
    run = pretrain(config(steps=4, max_tokens=2), tmp_path / "corpus", tmp_path / "run")
    assert all(np.isfinite(row["loss"]) for row in read_metrics(run / "metrics.jsonl") if "loss" in row)


def test_accumulated_batches_make_one_step(corpus, tmp_path):
    run = pretrain(config(steps=2, accumulate=3), corpus, tmp_path / "run")
    rows = [row for row in read_metrics(run / "metrics.jsonl") if "batches" in row]
    assert sum(row["batches"] for row in rows) == 6
    state = json.loads((run / "checkpoints" / "step-2" / "state.json").read_text())
    assert state["position"] == {"epoch": 0, "batch": 6}


def test_a_run_continues_only_with_its_own_configuration(corpus, tmp_path):
    run = pretrain(config(steps=2), corpus, tmp_path / "run")
    with pytest.raises(ConfigError, match="config.yaml: lr: the run was started with 0.001, not 0.01"):
        pretrain(config(steps=2, lr=0.01), corpus, run)
    with pytest.raises(ConfigError, match="lr: the run was started with 0.001, not 0.01"):
        pretrain(config(steps=4, lr=0.01), corpus, run, accept=["steps"])
    pretrain(config(steps=4, lr=0.01), corpus, run, accept=["steps", "lr"])
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] == 4
    pretrain(config(steps=4, lr=0.01), corpus, run)  # the change is settled
    with locked(run), pytest.raises(CheckpointError, match="another process"):
        pretrain(config(steps=4, lr=0.01), corpus, run)


def damage(checkpoint: Path) -> None:
    (path,) = checkpoint.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one weight
    path.write_bytes(content)


def test_an_edited_state_is_not_continued(corpus, run):
    """The step of the newest checkpoint was changed by hand: the one before it is used."""
    expected = weights(run)
    state = run / "checkpoints" / "step-8" / "state.json"
    state.write_text(state.read_text().replace('"step": 8', '"step": 7'))
    pretrain(config(), corpus, run)
    assert all(torch.equal(expected[name], value) for name, value in weights(run).items())
    assert json.loads(state.read_text())["step"] == 8


def test_damaged_checkpoints_fall_back_to_the_one_before(corpus, run):
    expected = weights(run)
    damage(run / "checkpoints" / "step-8")
    pretrain(config(), corpus, run)
    assert all(torch.equal(expected[name], value) for name, value in weights(run).items())
    for path in (run / "checkpoints").glob("step-*"):
        damage(path)
    with pytest.raises(CheckpointError, match="no checkpoint is intact"):
        pretrain(config(), corpus, run)


def test_excluded_people_are_never_seen(corpus, tmp_path):
    from brainof.corpus import open_corpora

    sampling = {"exclude": ["sim-eeg/0", "sim-eeg/1"], "validation": 0.2}
    trainer = Run(config(sampling=sampling), open_corpora(corpus), tmp_path)
    rows = trainer.train_rows
    people = set(rows["dataset"].astype(str) + "/" + rows["subject"].astype(str))
    held_out = set(trainer.held_out["dataset"].astype(str) + "/" + trainer.held_out["subject"].astype(str))
    assert people.isdisjoint({"sim-eeg/0", "sim-eeg/1"})
    assert people.isdisjoint(held_out)
    assert {name.split("/")[0] for name in held_out} == {"sim-eeg", "sim-meg", "sim-fmri"}


def test_a_decoder_that_ignores_the_latents_stops_the_run(corpus, tmp_path):
    """Latents that say nothing about a window: the loss looks as plausible as ever, and the run fails."""
    demanding = config(steps=4, health_grace=0.5, health_margin=0.01, lr=1e-9)
    with pytest.raises(HealthError, match="decoder ignores the latents"):
        pretrain(demanding, corpus, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "step-4").is_dir()


def test_a_small_model_learns_to_reconstruct(corpus, tmp_path):
    """Explained variance of hidden patches above 0.1 within 250 steps, and only with the right latents."""
    learning = config(
        steps=250,
        batch_size=16,
        lr=3e-3,
        health_every=250,
        checkpoint_every=250,
        model={"preset": "debug", "dim": 64, "sampler": {"latents": 16, "heads": 4}, "backbone": {"heads": 4}},
        objective={"frequency": "none"},
        mask={"fourier_ratio": 0.0},
    )
    run = pretrain(learning, corpus, tmp_path / "run")
    health = [row["health"] for row in read_metrics(run / "metrics.jsonl") if "health" in row][-1]
    assert health["sim-eeg"]["r2"] > 0.1, health
    assert health["sim-eeg"]["r2"] - health["sim-eeg"]["r2_shuffled"] > 0.1


def test_killed_and_continued_from_the_command_line(corpus, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({**DEBUG, "steps": 400}))
    for number in (signal.SIGKILL, signal.SIGTERM):
        child = ranks.command("pretrain", str(recipe), "--corpus", str(corpus), "--out", str(tmp_path / "run"))
        latest = tmp_path / "run" / "checkpoints" / "latest"
        before = latest.read_text() if latest.exists() else ""
        deadline = time.time() + 60
        while time.time() < deadline and (not latest.exists() or latest.read_text() == before):
            time.sleep(0.05)
        os.kill(child.pid, number)
        child.join(60)
        assert child.exitcode == (0 if number == signal.SIGTERM else -9)
    reached = json.loads((tmp_path / "run" / "checkpoints" / latest.read_text() / "state.json").read_text())["step"]
    steps = [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert 2 < reached < 400
    assert steps == sorted(steps)


def test_recomputed_blocks_train_the_same_model(corpus, finished, tmp_path):
    """To the bit, and experts are counted once; the option may change when a run goes on."""
    run = pretrain(config(recompute=True), corpus, tmp_path / "run")
    again = weights(run)
    for name, value in weights(finished).items():
        assert torch.equal(value, again[name]), name
    pretrain(config(), corpus, run)


def test_nothing_is_compiled_for_a_health_check(corpus, tmp_path, monkeypatch):
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    run = Run(config(compile=True), open_corpora(corpus), tmp_path / "run")
    assert set(run.health()) == {"sim-eeg", "sim-meg", "sim-fmri"}
    assert not compiled


def test_the_release_holds_the_moving_average(corpus, tmp_path, monkeypatch, power_cut):
    """value += (1 - decay) (weight - value) after each step, also across a break."""
    from brainof.pretraining import optimizer

    seen = []
    plain = optimizer.Average.update
    monkeypatch.setattr(
        optimizer.Average,
        "update",
        lambda self: (plain(self), seen.append(self._parameters[0].clone()))[0],
    )
    averaged = config(steps=6, average=0.7)
    start = Run(averaged, open_corpora(corpus), tmp_path).model.latents_LD.detach().clone()
    with monkeypatch.context() as patched:
        power_cut(patched, 4)
        with pytest.raises(RuntimeError, match="power cut"):
            pretrain(averaged, corpus, tmp_path / "run")
    pretrain(averaged, corpus, tmp_path / "run")
    expected = start
    for value in seen:
        expected = expected + 0.3 * (value - expected)
    assert len(seen) == 6
    assert torch.allclose(weights(tmp_path / "run")["latents_LD"], expected, atol=1e-6)


def test_metrics_are_curves_of_tensorboard_too(corpus, tmp_path):
    event_files = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = pretrain(config(steps=4, tensorboard=True), corpus, tmp_path / "run")
    curves = event_files.EventAccumulator(str(run / "tensorboard"))
    curves.Reload()
    names = set(curves.Tags()["scalars"])
    assert {"loss_time/eeg/sim-eeg", "step/lr", "step/grad_norm", "step/max_vio/eeg", "r2/sim-fmri"} <= names
    rates = {row["step"]: row["lr"] for row in read_metrics(run / "metrics.jsonl") if "lr" in row}
    assert {event.step: event.value for event in curves.Scalars("step/lr")} == pytest.approx(rates)


def test_what_a_log_says_of_tokens(corpus, tmp_path, caplog, monkeypatch):
    """Windows of 256 samples are 4 patches of each of 8, 10 and 12 channels, none of which is padding."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level("INFO", logger="brainof.pretraining.run"):
        run = pretrain(config(steps=6, min_channels=1.0), corpus, tmp_path / "run")
    line = r"step 6 of 6: loss [\d.]+, \d+ windows/s, \d+ tokens/s, data wait [\d.]+ %, 00:00 left"
    assert re.search(line, caplog.text)  # where there is no bar
    assert "training in float32, blocks not compiled, on " in caplog.text
    rows = [row for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
    for row in rows:
        assert row["padding"] == 0
        assert row["imbalance"] == 0
        assert 0 <= row["data_wait"] < 1
        per_window = row["tokens_per_second"] / row["windows_per_second"]
        assert 32 - 1e-6 <= per_window <= 48 + 1e-6


def test_a_teacher_is_continued_to_the_bit_and_learns_from_what_it_sees(corpus, tmp_path, monkeypatch, power_cut):
    options = {"objective": {"terms": {"latent": 1.0}, "teacher": "average"}, "average": 0.5, "lr": 1e-2}
    whole = pretrain(config(**options), corpus, tmp_path / "whole")
    rows = [row for row in read_metrics(whole / "metrics.jsonl") if "loss" in row]
    assert all(row["loss_latent"] > 0 and row["rank"] >= 1 and row["latent_cosine"] < 1 for row in rows)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        power_cut(patch, 5)
        pretrain(config(**options), corpus, tmp_path / "cut")
    found = weights(pretrain(config(**options), corpus, tmp_path / "cut"))
    for name, value in weights(whole).items():
        assert torch.equal(found[name], value), name


def test_a_teacher_that_there_is_not_is_refused(corpus, tmp_path):
    objective = {"terms": {"latent": 1.0}, "teacher": "average"}
    with pytest.raises(ConfigError, match="average: .*none is kept; set average=0.99"):
        pretrain(config(objective=objective), corpus, tmp_path / "run")
    with pytest.raises(ConfigError, match="parallel: a teacher needs whole weights"):
        pretrain(config(objective=objective, average=0.9, parallel="fsdp"), corpus, tmp_path / "run")
    aligned = {"terms": {"align": 1.0}, "stimulus": ["sim-fmri"]}
    with pytest.raises(ConfigError, match="parallel: ranks that share a model encode equally often"):
        pretrain(config(objective=aligned, parallel="fsdp"), corpus, tmp_path / "run")


def test_collapsed_latents_warn_and_end_the_run_at_its_next_check(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("brainof.pretraining.meter.spread", lambda *_: (1.2, 0.5))
    with pytest.raises(HealthError, match=r"the latents collapse: effective rank 1.20") as error:
        pretrain(config(health_grace=0.4), corpus, tmp_path / "run")
    assert "\n" not in str(error.value)
    found = [row["warning"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "warning" in row]
    assert [text for text in found if text.startswith("the latents collapse")] == found
    assert len(found) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_the_step_at_hand(corpus, tmp_path, monkeypatch, number):
    """Between two checkpoints; the same command ends as if nobody had asked."""
    from brainof.pretraining import trainer

    settings = config(4, checkpoint_every=100, health_every=100)
    plain = trainer.learning_rate

    def asking(step, schedule):
        if step == 2:
            os.kill(os.getpid(), number)
        return plain(step, schedule)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "learning_rate", asking)
        if number == signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                pretrain(settings, corpus, tmp_path / "run")
        else:
            pretrain(settings, corpus, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == "step-3"
    assert not (tmp_path / "run" / "release").exists()
    pretrain(settings, corpus, tmp_path / "run")
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 4
    assert (tmp_path / "run" / "release").is_dir()
