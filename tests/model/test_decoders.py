"""What each decoder reads, and what it sends back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.errors import ConfigError
from brainof.model import BrainOF
from brainof.model.decoder import TARGET_NORM, normalise_gradient
from brainof.signals import SignalBatch

PER_OUTPUT = {"kind": "per_output"}


def decoded(model: BrainOF, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    identity = torch.randn(1, 6, model.config.dim, generator=torch.Generator().manual_seed(1))
    return model.eval().decode(latents, identity)


def moved(model: BrainOF, latents: torch.Tensor, part: slice) -> set[str]:
    """Outputs that change with these latents."""
    before = decoded(model, latents)
    other = latents.clone()
    other[:, part] += 1
    return {name for name, value in decoded(model, other).items() if not torch.equal(value, before[name])}


def test_each_output_reads_its_own_latents():
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder=PER_OUTPUT)
    latents = torch.randn(2, 8, 32)
    assert moved(model, latents, slice(0, 4)) == {"waveform"}
    assert moved(model, latents, slice(4, 8)) == {"log_spectrum"}


def test_latents_of_each_output_read_contents_of_their_own():
    """A change of sign is invisible in a spectrum and in correlations, and turns the latents of the waveform."""
    torch.manual_seed(0)
    model = BrainOF.from_preset(
        "debug",
        tokens={"connectivity": True},
        sampler={"latents": 12},
        decoder={"kind": "per_output", "outputs": ["waveform", "log_spectrum", "connectivity"]},
    ).eval()
    rng = np.random.default_rng(0)
    channels = Channels(
        [f"c{i}" for i in range(5)], ("eeg",) * 5, positions=rng.uniform(-0.1, 0.1, (5, 3)), frame="head"
    )
    window = rng.standard_normal((5, 128))
    batches = [SignalBatch.from_arrays([sign * window], channels, 256.0, "eeg", 64) for sign in (1, -1)]
    # before the backbone, which mixes all latents
    up, down = (model.sample(model.tokens(batch)) for batch in batches)
    torch.testing.assert_close(up[:, 4:], down[:, 4:], atol=1e-5, rtol=1e-5)
    assert (up[:, :4] - down[:, :4]).abs().max() > 1e-3
    pooled = model.pool(up, "concat@log_spectrum")
    torch.testing.assert_close(pooled, up[:, 4:8].flatten(1))
    with pytest.raises(ConfigError, match="no output 'log_spectrm'"):
        model.pool(up, "concat@log_spectrm")


def test_tied_decoders_start_with_the_encoders_addresses():
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", sampler={"initial_addressing": "tied"}, decoder={"kind": "separate"})
    model.init_weights()
    for decoder in model.decoders:
        own, other = decoder.blocks[0].attention, model.encoder.blocks[0].attention
        assert torch.equal(own.query.weight, other.key.weight)
        assert torch.equal(own.key.weight, other.query.weight)
        assert own.query.weight is not other.key.weight


def test_normalised_gradients_have_the_norm_asked_for_in_each_window_and_zero_stays_zero():
    x = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 4, dtype=torch.float64)
    expected = 0.25 * TARGET_NORM * weight / weight.norm(dim=(1, 2), keepdim=True)
    for scale in (1e-3, 1e3):
        (gradient,) = torch.autograd.grad((normalise_gradient(x, 0.25) * weight * scale).sum(), x)
        torch.testing.assert_close(gradient, expected)
    (gradient,) = torch.autograd.grad((normalise_gradient(x, 1.0) * 0).sum(), x)
    assert (gradient == 0).all()


def test_decoders_per_output_weigh_alike_on_what_they_share():
    """The gradient on the latents is the same however large one of the losses is; addresses are not taught."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder=PER_OUTPUT)
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


@pytest.mark.parametrize("parts", [[4], [1, 3], [2, 2], [1, 1, 1, 1]])
def test_a_step_has_the_same_gradient_however_its_windows_are_split(make_batch, debug, parts):
    """Accumulated, shared by threads or summed over ranks: weights of the terms over the windows of the whole step."""
    batch = make_batch(windows=4)
    gradients = []
    for sizes in ([4], parts):
        torch.manual_seed(0)
        model = debug(decoder=PER_OUTPUT)
        for rows in torch.arange(4).split(sizes):
            tokens = model.tokens(batch.take_windows(rows))
            fractions = {"waveform": 0.75 / 4, "log_spectrum": 0.25 / 4}
            made = model.decode(model.encode(tokens), tokens.identity_BND, gradient_fractions=fractions)
            (made["waveform"].square().sum() + made["log_spectrum"].square().sum()).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_the_default_of_a_batch_does_not_grow_with_its_windows():
    """Windows that are alike: the summed gradient is that of one window."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", decoder=PER_OUTPUT)
    window = torch.randn(1, 8, 32)
    sums = []
    for count in (1, 5):
        latents = window.repeat(count, 1, 1).requires_grad_()
        made = model.decode(latents, torch.ones(1, 6, 32))
        (gradient,) = torch.autograd.grad(made["waveform"].square().sum(), latents)
        sums.append(gradient.sum(0))
    torch.testing.assert_close(*sums)
