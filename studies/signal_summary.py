"""Numbers that tell whether a recording looks like a real one; the same functions judge simulated and real ones."""

from __future__ import annotations

import numpy as np
from scipy import signal

from brainof.recording import Recording


def realism(recording: Recording) -> dict[str, float]:
    """Summary of a recording.

    Returns
    -------
    dict of str -> float
        EEG and MEG: `amplitude_<type>` (median robust standard deviation after a 1 Hz high-pass, SI units), `slope`
        (exponent of the 1/f background over 2-40 Hz without 7-14 Hz), `alpha_peak` (Hz, largest excess over that
        background in 7-14 Hz, mean spectrum), `alpha_excess` (log10 of that excess).
        fMRI: `low_share` (power in 0.01-0.1 Hz over that above 0.01 Hz), `connectivity_mean`, `connectivity_sd`
        (correlations between regions).
    """
    good = ~np.isin(recording.channels.names, recording.bads)
    data, kinds = recording.data[good].astype(np.float64), np.array(recording.channels.types)[good]
    if recording.modality == "fmri":
        return _of_bold(signal.detrend(data), recording.sfreq)
    found = {}
    sos = signal.butter(2, 1.0, "high", fs=recording.sfreq, output="sos")
    filtered = signal.sosfiltfilt(sos, data)
    for kind in sorted(set(kinds)):
        low, high = np.percentile(filtered[kinds == kind], (25, 75), axis=1)
        found[f"amplitude_{kind}"] = float(np.median(high - low) / 1.349)
    scaled = filtered / (filtered.std(axis=1, keepdims=True) + 1e-30)
    return found | _of_spectrum(scaled, recording.sfreq)


def mean_spectrum(data: np.ndarray, sfreq: float, seconds: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and the power spectrum averaged (geometric mean) over channels."""
    frequency, power = signal.welch(data, sfreq, nperseg=min(data.shape[1], round(seconds * sfreq)))
    return frequency, np.exp(np.log(power + 1e-300).mean(axis=0))


def background(frequency: np.ndarray, power: np.ndarray) -> tuple[float, float]:
    """Slope and offset of log10 power against log10 frequency over 2-40 Hz without 7-14 Hz."""
    rows = (frequency >= 2) & (frequency <= 40) & ~((frequency > 7) & (frequency < 14))
    slope, offset = np.polyfit(np.log10(frequency[rows]), np.log10(power[rows]), 1)
    return float(slope), float(offset)


def _of_spectrum(data: np.ndarray, sfreq: float) -> dict[str, float]:
    frequency, power = mean_spectrum(data, sfreq)
    slope, offset = background(frequency, power)
    band = (frequency >= 7) & (frequency <= 14)
    excess = np.log10(power[band]) - offset - slope * np.log10(frequency[band])
    top = int(excess.argmax())
    return {"slope": -slope, "alpha_peak": float(frequency[band][top]), "alpha_excess": float(excess[top])}


def _of_bold(data: np.ndarray, sfreq: float) -> dict[str, float]:
    frequency, power = signal.welch(data, sfreq, nperseg=min(data.shape[1], round(128 * sfreq)))
    power = (power / power.sum(axis=1, keepdims=True)).mean(axis=0)
    slow = (frequency >= 0.01) & (frequency <= 0.1)
    correlation = np.corrcoef(data)[np.triu_indices(len(data), 1)]
    return {
        "low_share": float(power[slow].sum() / power[frequency >= 0.01].sum()),
        "connectivity_mean": float(correlation.mean()),
        "connectivity_sd": float(correlation.std()),
    }
