from __future__ import annotations

import mne
import numpy as np
import pytest
import scipy.io
from studies.signal_summary import realism

from brainof.channels import Channels
from brainof.recording import Recording
from brainof.simulate import CohortParameters, simulate_subject

#: how far (difference) simulated numbers may lie from real ones
EEG_TOLERANCE = {"slope": 0.6, "alpha_peak": 1.5, "alpha_excess": 0.5}
BOLD_TOLERANCE = {"low_share": 0.35, "connectivity_mean": 0.15, "connectivity_sd": 0.1}


def recording(data: np.ndarray, sfreq: float, kind: str) -> Recording:
    names = [str(row) for row in range(len(data))]
    return Recording(data, sfreq, {"eeg": "eeg", "roi": "fmri"}[kind], Channels(names, (kind,) * len(data)))


def test_metrics_recover_what_is_put_in():
    rng = np.random.default_rng(0)
    frequency = np.fft.rfftfreq(256 * 120, 1 / 256)
    shape = np.maximum(frequency, 0.5) ** -0.75 + 3 * np.exp(-((frequency - 9.5) ** 2) / (2 * 0.5**2)) * 9.5**-0.75
    noise = rng.standard_normal((8, len(frequency))) + 1j * rng.standard_normal((8, len(frequency)))
    found = realism(recording(np.fft.irfft(noise * shape), 256.0, "eeg"))
    assert found["slope"] == pytest.approx(1.5, abs=0.1)
    assert found["alpha_peak"] == pytest.approx(9.5, abs=0.3)
    assert found["alpha_excess"] == pytest.approx(2 * np.log10(4), abs=0.15)
    shared = rng.standard_normal((1, 2000)) + rng.standard_normal((30, 2000))
    assert realism(recording(shared, 1.0, "roi"))["connectivity_mean"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.real
def test_eeg_resembles_real_rest(real_data):
    real = []
    for file in sorted((real_data / "eegmat" / "edf").glob("*_1.edf"))[:6]:
        raw = mne.io.read_raw_edf(file, preload=True, verbose="error")
        raw.pick([name for name in raw.ch_names if "ECG" not in name and "A2-A1" not in name])
        data = raw.get_data()
        real.append(realism(recording(data - data.mean(axis=0), raw.info["sfreq"], "eeg")))
    parameters = CohortParameters(modalities=("eeg",), channels=19, seconds=62)
    made = [realism(simulate_subject(parameters, index).eeg) for index in range(4)]
    for name, tolerance in EEG_TOLERANCE.items():
        assert _mean(made, name) == pytest.approx(_mean(real, name), abs=tolerance), name
    assert 0.4 < _mean(made, "amplitude_eeg") / _mean(real, "amplitude_eeg") < 2.5


def _mean(rows: list[dict[str, float]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


@pytest.mark.real
def test_bold_resembles_real_bold(real_data):
    file = sorted((real_data / "hcp_aal2_rsfmri").glob("*.mat"))[0]
    real = realism(recording(scipy.io.loadmat(file)["tc"].astype(float), 1 / 0.72, "roi"))
    made = realism(simulate_subject(CohortParameters(modalities=("fmri",), t_r=0.72), 0).fmri)
    for name, tolerance in BOLD_TOLERANCE.items():
        assert made[name] == pytest.approx(real[name], abs=tolerance), name
