"""Two ranks train as one does that takes the same batches: DDP and FSDP2, in float64."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from tests import ranks
from tests.pretraining import rank_jobs

from brainof.errors import ConfigError
from brainof.model import BrainOF, experts, move_biases
from brainof.pretraining.parallel import World, batches_of, prepare_blocks

TERMS = {"latent": 0.5, "band_power": 0.2}
CASES = [("debug", {"frequency": "none"}), ("per_output", {"connectivity": 0.5, "terms": TERMS})]


@pytest.fixture(scope="module")
def alone():
    return [rank_jobs.train(World(), "none", *case) for case in CASES]


@pytest.mark.parametrize("kind", ["ddp", "fsdp", "fsdp_ep"])
def test_two_ranks_equal_one_that_accumulates(alone, kind):
    """Weights, selection biases, losses and norms of two gloo ranks; also with a decoder that no loss reaches, and with
    gradients that are normalised per window."""
    for results in ranks.run(rank_jobs.trained_on_ranks, 2, kind, CASES):
        assert isinstance(results, list), results
        for found, expected in zip(results, alone, strict=True):
            np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-10)
            np.testing.assert_allclose(found["norms"], expected["norms"], rtol=1e-10)
            for name, value in expected["weights"].items():
                np.testing.assert_allclose(found["weights"][name], value, rtol=0, atol=1e-10, err_msg=name)


def test_each_block_is_compiled_by_itself(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: seen.append(function) or function)
    model = BrainOF.from_preset("debug")
    prepare_blocks(model, compiled=True)
    sides = [block for part in (model.encoder, *model.decoders) for block in part.blocks]
    assert {function.__self__ for function in seen} == {*model.blocks, *sides}
    assert len(seen) == len(model.blocks) + len(sides)
    twin = copy.deepcopy(model)  # as a teacher is made: of weights of its own
    for parameter in twin.blocks[0].ffn.parameters():
        torch.nn.init.zeros_(parameter)
    x_BND = torch.ones(1, 2, model.config.dim)
    assert model.blocks[0].ffn(x_BND)[0].any()
    assert not twin.blocks[0].ffn(x_BND)[0].any()


@pytest.mark.parametrize(("dtype", "recompute"), [(torch.float64, True), (torch.bfloat16, False)])
def test_compiled_blocks_are_the_plain_ones_and_compiled_once_for_all_loads(make_batch, monkeypatch, dtype, recompute):
    """Experts get other rows with every batch, and rows that are filled up in bfloat16; neither compiles anything."""
    rtol = 0 if dtype == torch.float64 else torch.finfo(dtype).eps
    graphs, filled = [], []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    fill = experts.filled_experts
    monkeypatch.setattr(experts, "filled_experts", lambda *given: filled.append(1) or fill(*given))
    torch.manual_seed(0)
    plain = BrainOF.from_preset("debug").to(torch.float64 if dtype == torch.float64 else torch.float32)
    model = copy.deepcopy(plain)
    prepare_blocks(model, recompute=recompute, compiled=True)
    counts, loads = [], []
    for seed in range(2):
        found = []
        for each in (plain, model):
            each.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                tokens = each.tokens(make_batch(seed=seed))
                latents_BLD = each.encode(tokens)
                loss = each.decode(latents_BLD, tokens.identity_BND)["waveform"].square().mean()
            loss.backward()
            found.append([loss, *(p.grad for p in each.parameters() if p.grad is not None)])
        loads.append(move_biases(model))
        torch.testing.assert_close(found[1], found[0], rtol=rtol, atol=1e-10 if rtol == 0 else 1e-7)
        counts.append(len(graphs))
    assert not torch.equal(*loads)
    assert counts[0] == counts[1] > 0
    assert len(filled) == (4 * len(model.blocks) if dtype == torch.bfloat16 else 0)


def test_ranks_take_batches_in_turn_or_share_each():
    assert batches_of(8, 2) == (4, 1)
    assert batches_of(3, 3) == (1, 1)
    assert batches_of(2, 8) == (1, 4)
    for per_step, ranks_there in ((3, 2), (2, 3), (4, 6)):
        with pytest.raises(ConfigError, match=rf"accumulate: {per_step} batches of a step among {ranks_there} ranks"):
            batches_of(per_step, ranks_there)
