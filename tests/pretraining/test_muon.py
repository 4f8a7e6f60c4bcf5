from __future__ import annotations

import pytest
import torch

from brainof.errors import ConfigError
from brainof.model import BrainOF
from brainof.pretraining.config import PretrainConfig
from brainof.pretraining.trainer import make_optimizer


@pytest.fixture
def trained():
    """A model after three steps of Muon, and its optimizer; gradients from a stream of their own."""

    def train(optimizer_name: str, steps: int = 3):
        torch.manual_seed(0)
        model = BrainOF.from_preset("debug")
        optimizer = make_optimizer(model, PretrainConfig(optimizer=optimizer_name, lr=1e-2))
        random = torch.Generator().manual_seed(1)
        for _ in range(steps):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=random)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return model, optimizer

    return train


def test_matrices_go_to_muon_and_all_else_as_before(trained):
    model, optimizer = trained("muon")
    plain, _ = trained("adamw")
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(groups) == len(list(model.parameters()))
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        matrix = name.endswith(".weight") and ours.ndim == 2
        assert groups[id(ours)]["muon"] == matrix, name
        assert ("momentum_buffer" in optimizer.state[ours]) == matrix, name
        assert torch.equal(ours, theirs) != matrix, name


def test_a_step_of_muon_is_orthogonal_and_as_large_as_one_of_adamw(trained):
    before, _ = trained("muon", 0)
    after, _ = trained("muon", 1)
    start = before.blocks[0].attention.query.weight
    moved = start * (1 - 1e-2 * 0.05) - after.blocks[0].attention.query.weight
    values = torch.linalg.svdvals(moved.detach() / (1e-2 * 0.2 * 32**0.5))
    assert 0.6 < values.min() <= values.max() < 1.3  # torch's five iterations bring them near one


def test_groups_and_state_are_one(trained):
    _, optimizer = trained("muon")
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert all(group["lr"] == 0.0 for part in optimizer._parts for group in part.param_groups)
    count = len(optimizer.state)
    assert all(part.state is optimizer.state for part in optimizer._parts)
    optimizer.state.clear()
    assert count > 0
    assert not optimizer._parts[0].state


@pytest.mark.parametrize("parallel", ["fsdp", "fsdp_ep"])
def test_parts_of_matrices_are_refused(parallel):
    config = PretrainConfig(optimizer="muon", parallel=parallel)
    with pytest.raises(ConfigError, match=r"optimizer: muon needs whole matrices; set parallel=ddp or optimizer=adamw"):
        make_optimizer(BrainOF.from_preset("debug"), config)
