"""What a model starts from, and edges of small functions: found by `./run bench mutants`."""

from __future__ import annotations

import pytest
import torch

from brainof.model import BrainOF
from brainof.model.balance import violation
from brainof.model.decoder import LOG_SPECTRUM_START
from brainof.model.experts import Experts


def test_outputs_start_at_zero_and_the_log_spectrum_at_the_floor():
    heads = [module for module in BrainOF.from_preset("debug").modules() if hasattr(module, "linears")]
    starts = {name: linear.bias for head in heads for name, linear in zip(head.names, head.linears, strict=True)}
    assert set(starts) == {"waveform", "log_spectrum"}
    assert torch.equal(starts["waveform"], torch.zeros_like(starts["waveform"]))
    assert torch.equal(starts["log_spectrum"], torch.full_like(starts["log_spectrum"], LOG_SPECTRUM_START))


def test_tied_addresses_start_with_small_latents_that_write_loudly():
    torch.manual_seed(0)
    for kind, std, gain in (("independent", 0.5, 1.0), ("tied", 0.05, 4.0)):
        model = BrainOF.from_preset("debug", dim=128, sampler={"initial_addressing": kind})
        assert model.latents_LD.std().item() == pytest.approx(std, rel=0.1)
        weight = model.encoder.blocks[0].attention.out.weight
        assert weight.std().item() == pytest.approx(gain * (3 * 128) ** -0.5, rel=0.05)


def test_experts_without_any_load_are_no_violation_of_balance():
    load = torch.tensor([[0.0, 0, 0, 0], [4, 0, 0, 0], [1, 1, 1, 1]])
    assert violation(load).tolist() == [-1.0, 3.0, 0.0]


def test_maps_of_experts_start_with_the_variance_of_their_inputs_and_the_gain():
    torch.manual_seed(0)
    experts = Experts(dim=64, experts=16, top_k=2, hidden=24, shared=0, residual_gain=0.3)
    assert experts.gate_up_ED2F.std().item() == pytest.approx(64**-0.5, rel=0.02)
    assert experts.down_EFD.std().item() == pytest.approx(0.3 * 24**-0.5, rel=0.02)
    assert experts.router_ED.std().item() == pytest.approx((3 * 64) ** -0.5, rel=0.1)
