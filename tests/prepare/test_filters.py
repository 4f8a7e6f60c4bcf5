from __future__ import annotations

import mne
import numpy as np
import pytest
from scipy import signal

from brainof.errors import ConfigError, RecordingError
from brainof.prepare.filters import Detrend, Filter, Notch, zero_phase


def tone(freq: float, seconds: float = 20.0, sfreq: float = 256.0) -> np.ndarray:
    return np.sin(2 * np.pi * freq * np.arange(int(seconds * sfreq)) / sfreq)[None]


@pytest.mark.parametrize(("low", "high"), [(0.5, 45.0), (1.0, None), (None, 40.0)])
def test_gain_is_the_squared_butterworth_response(make, low, high):
    freqs = [0.1, 2.0, 10.0, 30.0, 60.0, 100.0]
    for freq in freqs:
        gain = Filter(low=low, high=high).apply(make(tone(freq))).data[0, 1280:-1280].std() * np.sqrt(2)
        edges, kind = ((low, high), "bandpass") if low and high else (low or high, "highpass" if low else "lowpass")
        numerator, denominator = signal.butter(4, edges, kind, fs=256.0)
        _, response = signal.freqz(numerator, denominator, [freq], fs=256.0)
        if freq >= 1.0:
            assert gain == pytest.approx(abs(response[0]) ** 2, abs=2e-3)
        elif low:
            assert gain < 0.05


def test_agrees_with_mne(make):
    noise = np.random.default_rng(0).standard_normal((2, 256 * 30))
    reference = mne.filter.filter_data(
        noise,
        256.0,
        0.5,
        45.0,
        method="iir",
        iir_params={"order": 4, "ftype": "butter", "output": "sos"},
        verbose="error",
    )
    ours = Filter().apply(make(noise)).data
    np.testing.assert_allclose(ours[:, 1536:-1536], reference[:, 1536:-1536], atol=2e-4)


def test_moves_nothing(make):
    kept = Filter().apply(make(tone(10.0))).data[0]
    lag = np.argmax(np.correlate(kept[1000:2000], tone(10.0)[0, 1000:2000], "full")) - 999
    assert lag == 0


@pytest.mark.parametrize("n_times", [2, 30, 115, 256])
def test_short_recordings_stay_finite_and_bounded(make, n_times):
    values = np.random.default_rng(0).standard_normal((3, n_times))
    prepared = Filter().apply(make(values))
    assert prepared.data.shape == values.shape
    assert np.abs(prepared.data).max() < 10


def test_band_above_nyquist_is_left_open(make):
    slow = make(tone(10.0, sfreq=64.0), 64.0)
    prepared = Filter(low=0.5, high=45.0).apply(slow)
    assert prepared.provenance["steps"][-1] == {"step": "filter", "low": 0.5, "high": None}
    np.testing.assert_allclose(prepared.data[0, 256:-256], slow.data[0, 256:-256], atol=5e-3)


def test_notch_takes_out_the_line_only(make):
    prepared = Notch(freqs=(50.0, 100.0, 150.0)).apply(make(tone(50.0) + tone(20.0)))
    np.testing.assert_allclose(prepared.data[0, 1280:-1280], tone(20.0)[0, 1280:-1280], atol=0.02)
    assert prepared.provenance["steps"][-1]["freqs"] == [50.0, 100.0]  # 150 Hz is above Nyquist


@pytest.mark.parametrize("order", [0, 1, 3])
def test_detrend_equals_polynomial_regression(make, order):
    values = np.random.default_rng(0).standard_normal((2, 120)).cumsum(axis=1) + 1e4
    time = np.arange(120.0)
    expected = [row - np.polyval(np.polyfit(time, row, order), time) for row in values]
    np.testing.assert_allclose(Detrend(order=order).apply(make(values, 0.5, "roi")).data, expected, atol=1e-3)


def test_bad_values_are_named():
    with pytest.raises(ConfigError, match=r"low \(50\.0\) must be below high \(45\.0\)"):
        Filter.parse({"low": 50})


def test_too_short_is_refused(make):
    with pytest.raises(RecordingError, match="too few for filtering"):
        Filter().apply(make(np.ones((2, 1))))


def test_short_rows_filtered_together_are_those_filtered_alone():
    data = np.random.default_rng(0).standard_normal((70, 1024)).astype(np.float32)
    sections = signal.butter(4, (0.5, 45.0), "bandpass", fs=256.0, output="sos")
    together = zero_phase(data, sections, 1023)
    for row in (0, 63, 64, 69):
        np.testing.assert_array_equal(together[row], zero_phase(data[row : row + 1], sections, 1023)[0])
