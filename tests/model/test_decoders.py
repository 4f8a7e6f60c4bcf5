"""What each decoder reads, and what it sends back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.errors import ConfigError
from brainof.model import BrainOF
from brainof.model.balanced import NORM, even_gradient
from brainof.signals import SignalBatch

APART = {"separate_decoders": True}


def decoded(model: BrainOF, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    identity = torch.randn(1, 6, model.config.dim, generator=torch.Generator().manual_seed(1))
    return model.eval().decode(latents, identity)


def moved(model: BrainOF, latents: torch.Tensor, part: slice) -> set[str]:
    """Outputs that change with these latents."""
    before = decoded(model, latents)
    other = latents.clone()
    other[:, part] += 1
    return {name for name, value in decoded(model, other).items() if not torch.equal(value, before[name])}


def test_each_output_reads_its_own_share():
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", partition=True, **APART)
    latents = torch.randn(2, 8, 32)
    assert moved(model, latents, slice(0, 4)) == {"waveform"}
    assert moved(model, latents, slice(4, 8)) == {"log_spectrum"}


def test_outputs_before_the_backbone_read_the_latents_of_the_sampler():
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", sampler_outputs=["waveform"], **APART)
    latents = torch.randn(2, 16, 32)
    assert moved(model, latents, slice(0, 8)) == {"log_spectrum"}
    assert moved(model, latents, slice(8, 16)) == {"waveform"}
    with pytest.raises(ConfigError, match="with_sampled=True"):
        decoded(model, latents[:, :8])


def test_streams_read_contents_of_their_own():
    """A change of sign is invisible in a spectrum and in correlations, and turns the waveform's share."""
    torch.manual_seed(0)
    fields = {"partition": True, "streams": True, "connectivity_features": True, "latents": 12, **APART}
    model = BrainOF.from_preset("debug", outputs=["waveform", "log_spectrum", "connectivity"], **fields).eval()
    rng = np.random.default_rng(0)
    channels = Channels(
        [f"c{i}" for i in range(5)], ("eeg",) * 5, positions=rng.uniform(-0.1, 0.1, (5, 3)), frame="head"
    )
    window = rng.standard_normal((5, 128))
    batches = [SignalBatch.from_arrays([sign * window], channels, 256.0, "eeg", 64) for sign in (1, -1)]
    # before the backbone, which mixes the shares
    up, down = (model.encode(model.tokens(batch), with_sampled=True)[:, 12:] for batch in batches)
    torch.testing.assert_close(up[:, 4:], down[:, 4:], atol=1e-5, rtol=1e-5)
    assert (up[:, :4] - down[:, :4]).abs().max() > 1e-3
    pooled = model.pool(up, "concat@log_spectrum")
    torch.testing.assert_close(pooled, up[:, 4:8].flatten(1))
    with pytest.raises(ConfigError, match="no output 'log_spectrm'"):
        model.pool(up, "concat@log_spectrm")


def test_mirrored_decoders_start_with_the_encoders_addresses():
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", mirrored=True, **APART)
    model.init_weights()
    for decoder in model.decoders:
        own, other = decoder.blocks[0].attention, model.encoder.blocks[0].attention
        assert torch.equal(own.query.weight, other.key.weight)
        assert torch.equal(own.key.weight, other.query.weight)
        assert own.query.weight is not other.key.weight


def test_even_gradients_have_one_norm_in_each_window_and_zero_stays_zero():
    x = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 4, dtype=torch.float64)
    for scale in (1e-3, 1e3):
        (gradient,) = torch.autograd.grad((even_gradient(x) * weight * scale).sum(), x)
        torch.testing.assert_close(gradient, NORM * weight / weight.norm(dim=(1, 2), keepdim=True))
    (gradient,) = torch.autograd.grad((even_gradient(x) * 0).sum(), x)
    assert (gradient == 0).all()


def test_balanced_decoders_weigh_alike_on_what_they_share():
    """The gradient on the latents is the same however large one of the losses is; addresses are not taught."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", balanced_gradients=True, **APART)
    identity = torch.randn(1, 6, 32, requires_grad=True)
    gradients = []
    for scale in (1.0, 1e4):
        latents = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(2)).requires_grad_()
        made = model.decode(latents, identity)
        (made["waveform"].square().mean() + scale * made["log_spectrum"].square().mean()).backward()
        gradients.append(latents.grad)
    torch.testing.assert_close(*gradients)
    assert identity.grad is None
    assert model.latents_LD.grad is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"partition": True}, "need separate_decoders"),
        ({"balanced_gradients": True}, "need separate_decoders"),
        ({"partition": True, "latents": 7, **APART}, "do not divide into 2 shares"),
        ({"sampler_outputs": ["connectivity"], **APART}, "not all among outputs"),
        ({"streams": True, **APART}, "streams need partition"),
        ({"mirrored": True, "keys": "both"}, "mirrored needs"),
    ],
)
def test_options_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        BrainOF.from_preset("debug", **fields)
