"""The log covariance of virtual sensors, which stands in for correlations in EEG."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import logm

from brainof.channels import Channels
from brainof.errors import ConfigError
from brainof.model.config import BrainOFConfig
from brainof.model.covariance import (
    POINTS,
    SHRINKAGE,
    WEIGHTS,
    LogCovariance,
    log_covariance,
    log_positive,
    places,
    spatial_weights,
)
from brainof.model.presets import count
from brainof.signals import Sensors, SignalBatch

from .test_fixed import PER_OUTPUT, assert_the_ways_agree

COUNT = 4


def montage(n: int = 6, located: bool = True) -> Channels:
    at = np.random.default_rng(n).normal(0, 1, (n, 3))
    at = 0.09 * at / np.linalg.norm(at, axis=1, keepdims=True) + (0, 0, 0.04)
    return Channels(tuple(f"E{i}" for i in range(n)), ("eeg",) * n, positions=at if located else None, frame="head")


def made_batch(channels: Channels, windows: int = 2, times: int = 192, patch: int = 64) -> SignalBatch:
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(len(channels.names), len(channels.names)))
    signals = [mixed @ rng.normal(size=(len(mixed), times)) for _ in range(windows)]
    return SignalBatch.from_arrays(signals, channels, 128.0, "eeg", patch)


@pytest.fixture
def model(debug):
    return debug(**PER_OUTPUT, sampler={"latents": 12, "fixed": ["connectivity"], "covariance": ["eeg"]})


def rows(model, batch) -> torch.Tensor:
    return model.sample(model.tokens(batch))[:, model.config.latents_of("connectivity")]


def quadrature(matrix_BKK: torch.Tensor) -> torch.Tensor:
    """The integral as it is written, with products."""
    one_KK = torch.eye(matrix_BKK.shape[-1], dtype=matrix_BKK.dtype)
    less_BKK = matrix_BKK - one_KK
    return sum(w * less_BKK @ torch.linalg.inv(one_KK + t * less_BKK) for t, w in zip(POINTS, WEIGHTS, strict=True))


def test_the_logarithm_is_that_of_the_matrix():
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(3, 8, 8)))[0]
    matrices = vectors * np.geomspace(0.02, 32, 8) @ vectors.swapaxes(1, 2)
    expected = np.stack([logm(matrix) for matrix in matrices])
    given = torch.from_numpy(matrices).requires_grad_()
    found, plain = log_positive(given), quadrature(given)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=0.005)
    torch.testing.assert_close(found, plain, atol=1e-11, rtol=0)
    weight = torch.from_numpy(rng.normal(size=matrices.shape))
    (of_found,), (of_plain,) = (torch.autograd.grad((each * weight).sum(), given) for each in (found, plain))
    torch.testing.assert_close(of_found, of_plain, atol=1e-9, rtol=1e-9)


def test_the_logarithm_has_a_gradient_where_eigenvalues_are_equal():
    one = torch.eye(4, dtype=torch.float64, requires_grad=True)
    log_positive(one).sum().backward()
    torch.testing.assert_close(one.grad, torch.ones_like(one))


def test_covariance_is_that_of_weighted_means_of_what_is_seen():
    channels, rng = montage(), np.random.default_rng(2)
    batch = made_batch(channels)
    weight = spatial_weights(Sensors.from_channels(channels), COUNT).double()
    patch = batch.signal_BCT.double().unflatten(2, (3, 64))
    seen = torch.from_numpy(rng.random((2, 6, 3)) < 0.7)
    seen[0, :, 1] = False  # a patch in which nothing is seen
    found = log_covariance(patch.flatten(1, 2), weight, seen.flatten(1))
    for window in range(2):
        samples = []
        for p in range(3):
            own = weight[0].numpy() * seen[window, :, p].numpy()
            if own.any():
                read = own / own.sum(1, keepdims=True) @ patch[window, :, p].numpy()
                samples.append(read - read.mean(0))
        read = np.concatenate(samples, 1)
        covariance = np.cov(read, bias=True)
        level = np.trace(covariance) / COUNT
        expected = logm(covariance / level + SHRINKAGE * np.eye(COUNT)) + np.log(level) * np.eye(COUNT)
        np.testing.assert_allclose(found[window].numpy(), expected, atol=0.05)


def test_virtual_sensors_lie_on_the_upper_head_and_read_what_is_near():
    at = places(32).numpy()
    np.testing.assert_allclose(np.linalg.norm(at, axis=1), 0.1, atol=1e-6)
    assert at[:, 2].min() > -0.03
    apart = np.linalg.norm(at[:, None] - at, axis=2) + np.eye(32)
    assert apart.min() > 0.02
    sensors = Sensors.from_channels(montage(20))
    weights = spatial_weights(sensors, 32)[0].numpy()
    distance = np.linalg.norm(at[:, None] - sensors.position_BC3[0].numpy(), axis=2)
    assert (weights.argmax(1) == distance.argmin(1)).all()
    np.testing.assert_allclose(weights.max(1), 1)


def test_the_reference_of_the_recording_does_not_matter(model):
    batch = made_batch(montage())
    common = torch.randn(2, 1, batch.signal_BCT.shape[2], dtype=torch.float64)
    other = replace(batch, signal_BCT=batch.signal_BCT + common, checked=None)
    torch.testing.assert_close(rows(model, other), rows(model, batch), atol=1e-4, rtol=0)


def test_bad_channels_count_as_absent(model):
    batch = made_batch(montage())
    bad = batch.channel_mask_BC.clone()
    bad[:, 3:5] = False
    masked = replace(batch, channel_mask_BC=bad, checked=None)
    few = batch.take_channels(torch.tensor([0, 1, 2, 5]))
    torch.testing.assert_close(rows(model, masked), rows(model, few), atol=1e-4, rtol=0)


def test_padding_does_not_count(model):
    channels = montage()
    long = made_batch(channels, windows=1, times=192)
    short = SignalBatch.from_arrays(
        [long.signal_BCT[0, :, :130].numpy(), long.signal_BCT[0].numpy()], channels, 128.0, "eeg", 64
    )
    alone = SignalBatch.from_arrays([long.signal_BCT[0, :, :130].numpy()], channels, 128.0, "eeg", 64)
    torch.testing.assert_close(rows(model, short)[:1], rows(model, alone))
    torch.testing.assert_close(rows(model, short)[1:], rows(model, long), atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [montage(2), montage(3, located=False)], ids=["two electrodes", "no position"])
def test_few_or_unplaced_electrodes_have_latents_and_gradients(model, channels):
    batch = made_batch(channels)
    signal = batch.signal_BCT.double().requires_grad_()
    latents = rows(model, replace(batch, signal_BCT=signal))
    latents.square().sum().backward()
    assert torch.isfinite(latents).all()
    assert torch.isfinite(signal.grad).all()


def test_silence_is_finite(model):
    batch = made_batch(montage())
    silent = replace(batch, signal_BCT=torch.zeros_like(batch.signal_BCT), checked=None)
    assert torch.isfinite(rows(model, silent)).all()


def test_the_ways_to_the_latents_agree(model):
    batch = made_batch(montage(), windows=3)
    latents = assert_the_ways_agree(model, batch, 1e-5)  # signals are float32
    with torch.no_grad():
        tokens = model.tokens(batch)
        hidden = model.encode(tokens, torch.arange(3, 18).expand(3, -1))
        without = next(model.encode_without(tokens, [torch.arange(3)]))
    torch.testing.assert_close(hidden, without, rtol=0, atol=1e-5)
    own = model.config.latents_of("connectivity")
    assert (hidden[:, own] - latents[:, own]).abs().max() > 1e-3


def test_other_modalities_read_correlations_as_before(model, debug, make_batch):
    plain = debug(**PER_OUTPUT, sampler={"latents": 12, "fixed": ["connectivity"]})
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "covariance" not in name})
    for modality in ("fmri", "meg"):
        batch = make_batch(modality)
        torch.testing.assert_close(model.forward_features(batch), plain.forward_features(batch), rtol=0, atol=0)
    eeg = make_batch("eeg")
    own = model.config.latents_of("connectivity")
    assert (model.forward_features(eeg) - plain.forward_features(eeg))[:, own].abs().max() > 1e-3


def test_windows_of_two_modalities_in_one_batch(model, make_batch):
    eeg, meg = make_batch("eeg"), make_batch("meg")
    batch = replace(eeg, modality_B=torch.stack([eeg.modality_B[0], meg.modality_B[0]]), checked=None)
    others = replace(eeg, modality_B=meg.modality_B, checked=None)
    own = model.config.latents_of("connectivity")
    found = model.sample(model.tokens(batch))[:, own]
    torch.testing.assert_close(found[:1], model.sample(model.tokens(eeg))[:1, own], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1:], model.sample(model.tokens(others))[1:, own], rtol=0, atol=1e-12)


def test_the_code_is_counted_and_stays_as_drawn(model):
    assert count(model.config)["total"] == sum(p.numel() for p in model.parameters())
    assert not any(p.requires_grad for p in model.fixed["covariance"].parameters())
    weight = LogCovariance(32, COUNT).linear.weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(COUNT), atol=1e-5, rtol=0)


def test_covariance_needs_a_fixed_reading():
    with pytest.raises(ConfigError, match=r"covariance needs fixed=\[connectivity\]"):
        BrainOFConfig.parse({**PER_OUTPUT, "sampler": {"latents": 12, "covariance": ["eeg"]}})
