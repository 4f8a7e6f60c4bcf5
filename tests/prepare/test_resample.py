from __future__ import annotations

import mne
import numpy as np
import pytest

from brainof.errors import RecordingError
from brainof.prepare.resampling import Resample, ratio, reach, resampled

RATES = [160.0, 200.0, 250.0, 300.307495, 500.0, 512.0, 1000.0, 1024.0, 5000.0]


def phase_and_amplitude(values: np.ndarray, sfreq: float, freq: float) -> tuple[float, float]:
    """Phase (rad) and amplitude of a sine by least squares, in float64, away from the ends."""
    time = np.arange(len(values)) / sfreq
    inner = (time > 1) & (time < time[-1] - 1)
    basis = np.stack([np.sin(2 * np.pi * freq * time[inner]), np.cos(2 * np.pi * freq * time[inner])], axis=1)
    sine, cosine = np.linalg.lstsq(basis, values[inner].astype(np.float64))[0]
    return float(np.arctan2(cosine, sine)), float(np.hypot(sine, cosine))


@pytest.mark.parametrize("sfreq", RATES)
def test_a_sine_keeps_its_place_and_height(make, sfreq):
    time = np.arange(int(8 * sfreq) + 7) / sfreq
    prepared = Resample(sfreq=256).apply(make(np.sin(2 * np.pi * 10 * time)[None], sfreq))
    phase, amplitude = phase_and_amplitude(prepared.data[0], 256.0, 10.0)
    assert abs(phase / (2 * np.pi * 10) * 256) < 0.05  # samples; MNE's padded FFT resampler moves it by 0.5
    assert amplitude == pytest.approx(1, abs=1e-3)
    assert prepared.sfreq == 256.0
    assert prepared.n_times == int(np.ceil(len(time) * 256 / sfreq * (1 - 1e-6)))


@pytest.mark.parametrize("freq", [140.0, 211.0, 246.0, 400.0])
def test_frequencies_above_the_new_nyquist_do_not_fold_back(make, freq):
    time = np.arange(10_000) / 1000
    prepared = Resample(sfreq=256).apply(make(np.sin(2 * np.pi * freq * time)[None], 1000.0))
    assert prepared.data[0, 256:-256].std() < 1e-3  # -60 dB


@pytest.mark.parametrize(("up", "down"), [(8, 5), (1, 2), (64, 125), (2, 1), (128, 125)])
def test_reach_is_how_far_a_sample_is_felt(up, down):
    impulse = np.zeros((1, 400 * down))
    impulse[0, 200 * down] = 1.0
    found = np.abs(resampled(impulse, up, down)[0])
    apart = np.abs(np.arange(len(found)) * down / up - 200 * down)
    assert found[apart > reach(up, down)].max() < 2e-6 * found.max()
    assert found[apart > reach(up, down) / 3].max() > 1e-4 * found.max()  # and no multiple of it


def test_agrees_with_mne_polyphase_in_the_band_that_is_kept(make):
    noise = np.random.default_rng(1).standard_normal((2, 20_000))
    band = mne.filter.filter_data(noise, 1000.0, 1.0, 60.0, verbose="error")
    reference = mne.filter.resample(band, 256.0, 1000.0, method="polyphase", verbose="error")
    ours = Resample(sfreq=256).apply(make(band, 1000.0)).data
    assert np.abs(ours - reference)[:, 100:-100].max() < 0.02 * band.std()


@pytest.mark.parametrize("source", [*RATES, 256.0128, 19.999])
def test_ratio_is_exact_enough_for_an_hour(source):
    up, down = ratio(source, 256.0)
    assert abs(source * up / down / 256.0 - 1) <= 1e-6


def test_an_offset_makes_no_step_at_the_ends(make):
    prepared = Resample(sfreq=256).apply(make(np.full((1, 1000), 5.0), 500.0))
    np.testing.assert_allclose(prepared.data, 5.0, rtol=2e-3)


@pytest.mark.parametrize("n_times", [2, 3, 50])
def test_short_recordings(make, n_times):
    prepared = Resample(sfreq=256).apply(make(np.random.default_rng(0).standard_normal((2, n_times)), 1000.0))
    assert prepared.n_times == -(-n_times * 32 // 125)
    assert np.isfinite(prepared.data).all()


def test_a_rate_beyond_all_instruments_is_refused(make):
    with pytest.raises(RecordingError, match=r"sfreq: 1e\+300 Hz is too fast to become 256 Hz; check the rate"):
        Resample(sfreq=256).apply(make(np.zeros((1, 100)), 1e300))


def test_one_sample_is_refused(make):
    with pytest.raises(RecordingError, match="1 samples are too few"):
        Resample().apply(make(np.ones((2, 1)), 500.0))
