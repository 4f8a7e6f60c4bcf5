"""Two ranks train as one does that takes the same batches: DDP and FSDP2, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests import ranks
from tests.pretraining import rank_jobs

from brainof.model import BrainOF
from brainof.pretraining.parallel import World, prepare_blocks

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
    assert [function.__self__ for function in seen] == list(model.blocks)
