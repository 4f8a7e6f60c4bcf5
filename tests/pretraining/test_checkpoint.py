"""Checkpoints by themselves: what is kept, the best one, a full disk, another model."""

from __future__ import annotations

import pytest
import torch
from tests import ranks
from tests.pretraining import rank_jobs
from torch import nn

from brainof.errors import CheckpointError
from brainof.pretraining.checkpoint import Checkpoints, complete_checkpoints


def made(folder, width: int = 3) -> Checkpoints:
    torch.manual_seed(0)
    model = nn.Linear(width, 2)
    return Checkpoints(folder, model, torch.optim.AdamW(model.parameters(), fused=True), keep=2)


def train(checkpoints: Checkpoints, steps: int = 1) -> None:
    for _ in range(steps):
        checkpoints.model(torch.ones(1, 3)).sum().backward()
        checkpoints.optimizer.step()


def names(folder) -> list[str]:
    return [path.name for path in complete_checkpoints(folder)]


def test_what_is_saved_is_a_copy_and_comes_back_with_the_moments(tmp_path):
    """Steps that go on while a checkpoint is written do not change it."""
    one = made(tmp_path)
    train(one, 2)
    weights = {name: value.clone() for name, value in one.model.state_dict().items()}
    moment = one.optimizer.state[one.model.weight]["exp_avg_sq"].clone()
    one.save(2, {"position": [1, 2]})
    train(one, 3)
    one.wait()
    two = made(tmp_path)
    assert two.load() == {"step": 2, "position": [1, 2]}
    assert all(torch.equal(value, weights[name]) for name, value in two.model.state_dict().items())
    assert torch.equal(two.optimizer.state[two.model.weight]["exp_avg_sq"], moment)
    assert two.optimizer.state[two.model.weight]["step"] == 2


def test_the_newest_and_the_best_are_kept(tmp_path):
    checkpoints = made(tmp_path)
    for step, score in enumerate((0.1, 0.5, 0.2, 0.3, 0.4), 1):
        checkpoints.save(step, {})
        checkpoints.rate(step, score)
    checkpoints.wait()
    assert names(tmp_path) == ["step-2", "step-4", "step-5"]
    assert (tmp_path / "latest").read_text() == "step-5"


def test_another_model_is_refused_by_the_name_of_a_tensor(tmp_path):
    checkpoints = made(tmp_path)
    checkpoints.save(1, {})
    checkpoints.wait()
    with pytest.raises(
        CheckpointError, match="step-1: belongs to another model .1 tensors differ, such as weight.*CHANGELOG"
    ):
        made(tmp_path, width=4).load()


@pytest.mark.parametrize("size", [1, 2])
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, size):
    """A limit on the size of files stands for a full disk: the first checkpoint is small enough, the second not."""
    for kind, text in ranks.run(rank_jobs.saved_on_a_full_disk, size, str(tmp_path)):
        assert kind == "StorageError"
        assert "step-2.tmp: cannot be written (File too large)" in text
    assert names(tmp_path) == ["step-1"]
    assert not list(tmp_path.glob("*.tmp"))
