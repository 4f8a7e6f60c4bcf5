"""Whole runs on two gloo ranks: the same windows and losses as alone, and what happens when a rank fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import ranks
from tests.pretraining import rank_jobs

import brainof
from brainof.corpus import Corpus
from brainof.corpus.maintenance import delete
from brainof.pretraining import PretrainConfig, pretrain
from brainof.pretraining.checkpoint import intact_state
from brainof.pretraining.run import initial_model
from brainof.pretraining.run_folder import read_metrics

SETTINGS: dict[str, Any] = {
    "model": {"preset": "debug"},
    "steps": 6,
    "batch_size": 4,
    "accumulate": 2,
    "log_every": 2,
    "checkpoint_every": 2,
    "health_margin": 0.0,
    "precision": "float32",
    "threads": 1,
    "sampling": {"validation": 0.0},
}


def on_two(corpus: Path | list[Path], out: Path, fault: str = "", wait: float = 60.0, **changes: Any) -> list[Any]:
    corpora = [str(path) for path in (corpus if isinstance(corpus, list) else [corpus])]
    return ranks.run(rank_jobs.pretrained, 2, SETTINGS | changes, corpora, str(out), fault, wait=wait)


def rows(run: Path) -> dict[tuple[int, str], dict[str, Any]]:
    return {(row["step"], row["dataset"]): row for row in read_metrics(run / "metrics.jsonl") if "loss" in row}


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory) -> Path:
    return pretrain(PretrainConfig.parse(SETTINGS), corpus, tmp_path_factory.mktemp("alone") / "run")


def assert_same_run(run: Path, alone: Path, tolerance: float = 1e-5) -> None:
    """Windows, losses, gradient norms and weights, to the rounding of float32 sums in another order."""
    found, expected = rows(run), rows(alone)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key]["batches"] == row["batches"]
        for name in ("loss", "loss_step", "grad_norm", "max_vio"):
            assert found[key][name] == pytest.approx(row[name], rel=tolerance), (key, name)
    weights = (brainof.load(each)[0].state_dict() for each in (run, alone))
    for (name, one), two in zip(next(weights).items(), next(weights).values(), strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=0, atol=10 * tolerance, err_msg=name)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp", "fsdp_ep"])
def test_a_run_on_two_ranks_is_stopped_and_continued_on_one(corpus, alone, tmp_path, parallel):
    """Rank 1 alone is asked to stop, by SIGUSR1: both save in that step and end; one process goes on."""
    run = tmp_path / "run"
    assert on_two(corpus, run, "stop", parallel=parallel) == [str(run)] * 2
    assert json.loads((run / "checkpoints" / "step-5" / "state.json").read_text())["position"]["batch"] == 10
    assert not (run / "release").exists()
    assert len(list((run / "checkpoints" / "step-5").glob("*.safetensors"))) == 2
    pretrain(PretrainConfig.parse(SETTINGS), corpus, run)
    assert_same_run(run, alone)


def test_a_run_that_is_killed_again_and_again_is_the_run_that_was_not(corpus, alone, tmp_path):
    """kill -9 in three steps, each time with other threads of the loader: weights and metrics to the bit."""
    run = tmp_path / "run"
    for step, loader in ((4, {"threads": 2, "prefetch": 3}), (4, {"prefetch": 0}), (6, {"threads": 3})):
        killed = ranks.run(rank_jobs.killed_in_step, 1, SETTINGS | {"loader": loader}, str(corpus), str(run), step)
        assert killed == [("died", -9)]
    pretrain(PretrainConfig.parse(SETTINGS), corpus, run)
    assert_same_run(run, alone, tolerance=0.0)


def test_a_run_on_one_rank_goes_on_with_two(corpus, alone, tmp_path):
    """With sharded weights, from a whole checkpoint, as the newest one is damaged; the release is whole again."""
    run = shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(run / "release")
    (newest,) = (run / "checkpoints" / "step-6").glob("*.safetensors")
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    said, _ = ranks.run(rank_jobs.continued, 2, SETTINGS | {"parallel": "fsdp"}, str(corpus), str(run))
    assert f"{run}/checkpoints/step-6: its bytes are not those that were written; the one before it is used" in said
    assert intact_state(run / "checkpoints" / "step-6") is not None  # the last steps were done again
    assert_same_run(run, alone)


def test_blocks_are_sent_in_bfloat16_and_kept_in_float32(corpus, tmp_path):
    """The option `precision` under fsdp: half of what is sent, the losses of one process in bfloat16."""
    (one,) = ranks.run(rank_jobs.trained_in_bfloat16, 1, SETTINGS, str(corpus), str(tmp_path / "one"))
    for two in ranks.run(rank_jobs.trained_in_bfloat16, 2, SETTINGS | {"parallel": "fsdp"}, str(corpus), str(tmp_path)):
        assert (two["block"], two["outside"], two["parts"]) == (torch.bfloat16, torch.float32, {torch.float32})
        np.testing.assert_allclose(two["losses"], one["losses"], rtol=2e-3)
        np.testing.assert_allclose(two["norms"], one["norms"], rtol=2e-2)
    assert one["block"] == torch.float32  # autocast casts within operators


def test_two_ranks_share_the_windows_of_single_batches(corpus, tmp_path):
    whole = pretrain(PretrainConfig.parse(SETTINGS | {"accumulate": 1}), corpus, tmp_path / "whole")
    assert on_two(corpus, tmp_path / "run", accumulate=1) == [str(tmp_path / "run")] * 2
    assert_same_run(tmp_path / "run", whole)


def test_a_rank_that_is_killed_is_named_and_the_run_goes_on(corpus, alone, tmp_path):
    run = tmp_path / "run"
    (kind, text), died = on_two(corpus, run, "die")
    assert died == ("died", -9)
    assert kind == "RankError"
    assert "rank 1 (step 4) ended; rank 0 waited for it in step 4" in text
    pretrain(PretrainConfig.parse(SETTINGS), corpus, run)
    assert_same_run(run, alone)


def test_all_ranks_are_killed_and_the_run_goes_on(corpus, alone, tmp_path):
    run = tmp_path / "run"
    killed = ranks.run(rank_jobs.killed_in_step, 2, SETTINGS, str(corpus), str(run), 4)
    assert killed == [("died", -9)] * 2
    assert on_two(corpus, run) == [str(run)] * 2
    assert_same_run(run, alone)


def test_sigterm_at_one_rank_ends_all_within_half_a_minute(corpus, tmp_path):
    """As a cluster that wants its machine: the recipe `tiny` saves, and what it returns is exit code 0."""
    run = tmp_path / "run"
    (_, first), (seconds, second) = ranks.run(rank_jobs.terminated, 2, str(corpus), str(run))
    assert first == second == str(run)
    assert 0 < seconds < 30
    assert (run / "checkpoints" / "latest").read_text() == "step-4"
    assert not (run / "release").exists()


def test_other_settings_are_refused_on_all_ranks_unless_accepted(corpus, alone, tmp_path):
    run = shutil.copytree(alone, tmp_path / "run")
    for kind, text in on_two(corpus, run, lr=2e-3):
        assert kind == "ConfigError"
        assert "lr" in text
        assert "the run was started with 0.001, not 0.002" in text
    said, _ = ranks.run(rank_jobs.continued, 2, SETTINGS | {"lr": 2e-3}, str(corpus), str(run), ("lr",))
    assert f"{run}: goes on with lr=0.002 instead of 0.001" in said


def test_a_rank_that_hangs_is_named(corpus, tmp_path):
    (kind, text), other = on_two(corpus, tmp_path / "run", "hang", wait=0.1, rank_timeout=4.0)
    assert kind == "RankError"
    assert "rank 1 (step 4) did not answer for 4 s; rank 0 waited for it in step 4" in text
    assert other == ("no answer", "")  # it still hangs


def test_ranks_that_see_other_windows_are_refused(corpus, tmp_path):
    less = shutil.copytree(corpus, tmp_path / "less")
    delete(Corpus(less), datasets=["sim-meg"])
    for kind, text in on_two([corpus, less], tmp_path / "run"):
        assert kind == "CorpusError"
        assert "sees 96 training windows" in text
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_batch_that_is_not_finite_is_named_with_its_rank_of_origin(corpus, tmp_path):
    for kind, text in on_two(corpus, tmp_path / "run", "nan"):
        assert kind == "HealthError"
        assert "at step 3 (sim-" in text


@pytest.mark.parametrize("parallel", ["fsdp", "fsdp_ep"])
def test_a_large_model_is_drawn_in_parts(corpus, tmp_path, parallel):
    """As `huge` and `giant`: on the meta device first; parts differ, and are distributed as those of a whole one."""
    settings = SETTINGS | {"parallel": parallel}
    found = ranks.run(rank_jobs.started_in_parts, 2, settings, str(corpus), str(tmp_path))
    expected = initial_model(PretrainConfig.parse(SETTINGS)).state_dict()
    for name, value in found[0]["weights"].items():
        whole = expected[name.removeprefix("model.")].numpy()
        assert value.shape == whole.shape, name
        np.testing.assert_array_equal(value, found[1]["weights"][name], err_msg=name)
        if value.size > 256:
            assert value.std() == pytest.approx(whole.std(), rel=0.25), name
            half = len(value) // 2
            assert whole.std() == 0 or not np.array_equal(value[:half], value[half : 2 * half]), name
    assert 0 < found[0]["norm"] == found[1]["norm"] < 100


def test_two_ranks_have_one_teacher(corpus, tmp_path):
    """Each batch is of one rank, so its regularisation is that of one process; the teacher has the weights of both."""
    latent = {"objective": {"terms": {"latent": 1.0}, "teacher": "average"}, "average": 0.5, "steps": 4}
    whole = pretrain(PretrainConfig.parse(SETTINGS | latent), corpus, tmp_path / "whole")
    assert on_two(corpus, tmp_path / "run", **latent) == [str(tmp_path / "run")] * 2
    assert_same_run(tmp_path / "run", whole)
