"""Any sampling rate and most of the channels: the same features."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from brainof.channels import Channels
from brainof.errors import ConfigError
from brainof.model import BrainOF
from brainof.model.resolution import on_grid, resample
from brainof.signals import SignalBatch


def wave(sfreq: float, seconds: float = 4.0) -> torch.Tensor:
    time = torch.arange(round(seconds * sfreq), dtype=torch.float64) / sfreq
    return (torch.sin(2 * math.pi * 10.3 * time) + 0.5 * torch.cos(2 * math.pi * 31 * time))[None]


@pytest.mark.parametrize("sfreq", [128, 200, 250, 500, 512, 1000])
def test_a_wave_is_the_same_wave_at_another_rate(sfreq):
    found, expected = resample(wave(sfreq), sfreq, 256), wave(256)
    assert found.shape == expected.shape
    error = (found - expected).abs()[0]
    assert error[40:-40].max() < 1e-3
    assert error.max() < 0.1  # the ends are continued, not known


def test_what_the_lower_rate_cannot_hold_is_removed():
    hum = torch.sin(2 * math.pi * 200 * torch.arange(2048, dtype=torch.float64) / 512)
    found = resample(wave(512) + hum, 512, 256)
    torch.testing.assert_close(found[0, 50:-50], wave(256)[0, 50:-50], atol=1e-3, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 30])
def test_short_signals_can_be_read_too(length):
    found = resample(torch.ones(3, length), 128, 256)
    torch.testing.assert_close(found, torch.ones(3, 2 * length))


def test_windows_of_several_rates_end_up_on_one_grid(make_batch):
    batch = make_batch(windows=2, channels=3, patches=2, lengths=[128, 100])
    batch = replace(batch, interval_B=torch.tensor([1 / 256, 1 / 128]))
    batch.signal_BCT[1, :, 100:] = torch.nan  # padding may hold anything
    found = on_grid(batch, {"eeg": 256.0}, 64)
    assert found.n_times_B.tolist() == [128, 200]
    assert found.signal_BCT.shape == (2, 3, 256)
    assert torch.equal(found.signal_BCT[0, :, :128], batch.signal_BCT[0])
    assert (found.signal_BCT[1, :, 200:] == 0).all()
    torch.testing.assert_close(1 / found.interval_B, torch.tensor([256.0, 256.0]))
    assert on_grid(found, {"eeg": 256.0}, 64) is found
    assert on_grid(batch, {"meg": 256.0}, 64) is batch


def brain(n_windows: int = 40, n_channels: int = 24, seconds: int = 4) -> tuple[np.ndarray, Channels]:
    """Windows at 512 Hz of sources with 1/f spectra that differ from window to window, on a half sphere."""
    rng = np.random.default_rng(0)
    place = np.abs(rng.normal(size=(n_channels, 3))) * [1, 1, 0.7] * rng.choice([-1, 1], (n_channels, 3)) ** [1, 1, 2]
    place *= 0.09 / np.linalg.norm(place, axis=1, keepdims=True)
    frequency = np.fft.rfftfreq(512 * seconds, 1 / 512)
    shape = np.where((frequency > 0.5) & (frequency < 45), 1 / np.maximum(frequency, 0.5), 0)
    shape = shape * np.exp(0.5 * rng.normal(size=(n_windows, 6, 1)) * np.cos(frequency / 7))
    source = np.fft.irfft(shape * np.exp(2j * np.pi * rng.random(shape.shape)), axis=-1)
    source /= source.std()
    mixing = np.exp(-((place[:, None] - 0.09 * rng.normal(size=(1, 6, 3))) ** 2).sum(-1) / 2 / 0.06**2)
    types, names = ("eeg",) * n_channels, tuple(f"E{number}" for number in range(n_channels))
    return mixing @ source, Channels(names, types, positions=place + np.array([0, 0, 0.04]), frame="head")


@pytest.mark.parametrize(("sfreq", "dropped"), [(128, 0), (512, 0), (256, 8), (128, 8)])
@torch.inference_mode()
def test_the_default_features_are_those_of_the_signal_not_of_its_resolution(sfreq, dropped):
    """The floor: cosine above 0.9 about the mean, and every window finds itself."""
    windows, channels = brain()
    torch.manual_seed(0)
    model = BrainOF.from_preset("per_output").eval()

    def features(sfreq: int, dropped: int = 0) -> np.ndarray:
        at = resample_poly(windows, sfreq, 512, axis=-1) if sfreq != 512 else windows
        batch = SignalBatch.from_arrays(list(at), channels, sfreq, "eeg", model.config.patch)
        kept = np.sort(np.random.default_rng(1).permutation(len(channels))[: len(channels) - dropped])
        batch = batch.take_channels(torch.from_numpy(kept))
        return model.pool(model.forward_features(batch), "auto", "eeg").double().numpy()

    reference = features(256)
    first, second = (x - reference.mean(0) for x in (reference, features(sfreq, dropped)))
    cosine = (second / np.linalg.norm(second, axis=1)[:, None]) @ (first / np.linalg.norm(first, axis=1)[:, None]).T
    assert np.diag(cosine).mean() > 0.9
    assert (cosine.argmax(1) == np.arange(len(cosine))).mean() > 0.95


@pytest.mark.parametrize("rates", [{"nirs": 256}, {"eeg": 0}, {"eeg": math.inf}])
def test_wrong_rates_are_refused(rates):
    with pytest.raises(ConfigError, match="rates"):
        BrainOF.from_preset("debug", rates=rates)
