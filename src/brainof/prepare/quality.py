"""What a preparation found in a recording and did to it, as a small JSON that is kept beside its windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from ..channels import UNITS
from ..recording import Recording
from ..utils.memory import sampled
from .steps import good_rows, robust_centre_and_scale, rows_by_type
from .windows import Window

#: Seconds of each of three pieces that spectra are taken from, and the number of frequencies that are kept
PIECE, BINS = 20.0, 48
#: Channels of a type that spectra are taken from (evenly spread)
MOST_CHANNELS = 32
#: Statistics of steps that name channels, and the reason they stand for
REASONS = {
    "not_finite": "not finite",
    "flat": "flat",
    "loud": "too loud",
    "dead": "no signal",
    "deviation": "deviates (PREP)",
    "correlation": "uncorrelated (PREP)",
    "dropout": "drops out (PREP)",
    "ransac": "unpredictable (RANSAC)",
}


def before(recording: Recording) -> dict[str, Any]:
    """Amplitudes and spectra of a recording as it was read, per sensor type, in SI units.

    amplitude: type -> quantiles 0.05, 0.5 and 0.95 over channels of the robust SD; spectrum: type -> frequencies (Hz)
    and the median over channels of the power density (dB relative to 1 unit^2/Hz); events: their types, and what the
    file said.
    """
    amplitude, spectrum = {}, {}
    step = max(1, recording.n_times // 20_000)
    for kind, rows in rows_by_type(recording, good_rows(recording)).items():
        if not len(rows):
            continue
        _, scales = robust_centre_and_scale(np.nan_to_num(sampled(recording.data, rows, step)))
        low, middle, high = (float(value) for value in np.quantile(scales, (0.05, 0.5, 0.95)))
        amplitude[kind] = {"unit": UNITS[kind], "low": low, "median": middle, "high": high}
        if (found := _spectrum(recording, rows)) is not None:
            spectrum[kind] = found
    return {
        "seconds": round(recording.duration, 3),
        "sfreq": recording.sfreq,
        "channels": recording.n_channels,
        "truncated": bool(recording.provenance.get("truncated")),
        "bad_in_file": list(recording.bads),
        "events": sorted(set(recording.events["trial_type"].astype(str))),
        "amplitude": amplitude,
        "spectrum": spectrum,
    }


def after(recording: Recording, windows: Sequence[Window]) -> dict[str, Any]:
    """What the chain did: each step's statistics, why channels were dropped, and how much became windows."""
    steps = [dict(step) for step in recording.provenance.get("steps", ())]
    dropped: dict[str, str] = {}
    for step in steps:
        for key, reason in REASONS.items():
            for name in step.get(key, ()):
                dropped.setdefault(name, reason)
    for name in recording.bads:
        dropped.setdefault(name, "marked in the file" if recording.modality != "fmri" else "outside the image")
    covered = sum(window.data.shape[1] for window in windows if window.view == "pretrain") / recording.sfreq
    return {
        "prepared_sfreq": recording.sfreq,
        "frame": recording.channels.frame,
        "atlas": recording.channels.atlas,
        "located": int(recording.channels.located.sum()),
        "dropped": {name: reason for name, reason in dropped.items() if name in recording.bads},
        "views": dict(Counter(window.view for window in windows)),
        "seconds_in_windows": round(min(covered, recording.duration), 3),
        "clipped": next((step["clipped"] for step in reversed(steps) if "clipped" in step), None),
        "steps": steps,
        "notes": recording.notes,
    }


def _spectrum(recording: Recording, rows: np.ndarray) -> dict[str, list[float]] | None:
    """Median power density over channels, from three pieces of the recording, on logarithmic frequencies."""
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_CHANNELS)).astype(int)]
    length = min(recording.n_times, max(64, round(PIECE * recording.sfreq)))
    if length < 16:
        return None
    starts = sorted({int(share * (recording.n_times - length)) for share in (0.1, 0.5, 0.9)})
    segment = min(length, max(64, round(4 * recording.sfreq)))
    powers = []
    for start in starts:
        piece = np.nan_to_num(recording.data[rows, start : start + length].astype(np.float64))
        frequencies, power = scipy.signal.welch(piece, recording.sfreq, nperseg=segment)
        powers.append(np.median(power, axis=0))
    power = np.mean(powers, axis=0)
    edges = np.geomspace(frequencies[1], frequencies[-1], BINS + 1)
    which = np.digitize(frequencies, edges) - 1
    inside = (which >= 0) & (which < BINS)
    count = np.bincount(which[inside])
    hz, means = (np.bincount(which[inside], x[inside])[count > 0] / count[count > 0] for x in (frequencies, power))
    return {"hz": hz.round(4).tolist(), "db": (10 * np.log10(np.maximum(means, 1e-300))).round(2).tolist()}
