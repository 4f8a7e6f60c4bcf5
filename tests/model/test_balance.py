"""The balance update on a whole model: checkpointing, accumulation, threads, evaluation, files and casts."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from brainof.model import BrainOF, balance_metrics, move_biases
from brainof.pretraining.threads import GradientThreads


def loss_of(model, batch):
    tokens = model.tokens(batch)
    return sum(x.square().sum() for x in model.decode(model.encode(tokens), tokens.identity_BND).values())


def biases(model):
    return torch.stack([block.ffn.selection_bias for block in model.blocks])


@pytest.fixture
def trained(make_batch):
    """A model in train mode, two batches, and what three updates make of it: biases and gradients."""
    model = BrainOF.from_preset("debug").double().train()
    batches = [make_batch("eeg", windows=4), make_batch("fmri", windows=4, channels=3)]
    plain = copy.deepcopy(model)
    return model, batches, plain, updates(plain, batches)


def updates(model, batches, windows=None, threads=1):
    """Three optimizer steps' worth of counting, `windows` at a time; the loads of each step."""
    parts = [
        batch.take_windows(rows) for batch in batches for rows in torch.arange(len(batch)).split(windows or len(batch))
    ]
    team = GradientThreads(list(model.parameters()), threads)
    loads = []
    for _ in range(3):
        if threads == 1:
            for part in parts:
                loss_of(model, part).backward()
        else:
            team.backward(parts, lambda part: {"loss": loss_of(model, part)})
        loads.append(torch.stack([block.ffn.load_ME for block in model.blocks]))
        move_biases(model, 0.01)
    team.close()
    return loads


def require_same(model, loads, plain, expected):
    assert (biases(plain) != 0).any()
    assert torch.equal(biases(model), biases(plain))
    assert all(torch.equal(a, b) for a, b in zip(loads, expected, strict=True))
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_blocks_count_once(trained, reentrant):
    model, batches, plain, expected = trained
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=reentrant)
    require_same(model, updates(model, batches), plain, expected)
    assert expected[0].sum((1, 2)).tolist() == [2 * 4 * 8 * 2] * 2  # batches, windows, latents, experts per token


@pytest.mark.parametrize("threads", [1, 2])
def test_accumulation_and_threads_do_not_change_the_update(trained, threads):
    """Windows one or three at a time, also with checkpointing inside the threads."""
    model, batches, plain, expected = trained
    for windows in (1, 3):
        other = copy.deepcopy(model)
        for block in other.blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        require_same(other, updates(other, batches, windows, threads), plain, expected)


def test_evaluation_moves_nothing(trained):
    _, batches, plain, _ = trained
    before = biases(plain)
    plain.eval()
    loss_of(plain, batches[0]).backward()
    assert balance_metrics(move_biases(plain, 0.01)) == {}
    assert torch.equal(biases(plain), before)


def test_biases_survive_files_and_casts_there_and_back(trained, tmp_path):
    from safetensors.torch import load_file, save_file

    *_, plain, _ = trained
    before = biases(plain)
    save_file(plain.state_dict(), tmp_path / "weights.safetensors")
    other = BrainOF.from_preset("debug").double()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for cast in (nn.Module.half, nn.Module.bfloat16, nn.Module.double, nn.Module.float):
        cast(other)
        assert biases(other).dtype == torch.float32
        assert torch.equal(biases(other), before)
