"""Amplitudes that a brain does not produce: the unit is probably wrong."""

from __future__ import annotations

import numpy as np

from .channels import SHOWN_UNITS, UNITS
from .errors import ContractError
from .recording import Recording
from .utils.memory import sampled

#: Robust amplitude (median over channels of the interquartile range) outside which the unit is probably wrong
PLAUSIBLE_AMPLITUDE: dict[str, tuple[float, float]] = {
    "eeg": (1e-7, 2e-3),
    "mag": (1e-15, 1e-9),
    "axial": (1e-15, 1e-8),
    "grad": (1e-14, 1e-8),
}


def implausible_amplitudes(recording: Recording) -> list[str]:
    """One sentence per sensor type with an implausible robust amplitude (wrong unit, usually)."""
    problems = []
    types = np.array(recording.channels.types)
    good = np.array([name not in recording.bads for name in recording.channels.names])
    for kind, (low, high) in PLAUSIBLE_AMPLITUDE.items():
        rows = np.flatnonzero((types == kind) & good)
        if not len(rows) or not recording.n_times:
            continue
        step = max(1, recording.n_times // 20_000)  # a quartile needs no more samples than this
        values = sampled(recording.data, rows, step)
        quartiles = np.percentile if np.isfinite(values).all() else np.nanpercentile  # the latter is slow
        low_quartile, high_quartile = quartiles(values, (25, 75), axis=1)
        spread = float(np.nanmedian(high_quartile - low_quartile))
        if spread and not low <= spread <= high:
            unit, factor = SHOWN_UNITS[UNITS[kind]]
            seen, lowest, highest = (f"{value * factor:.4g}" for value in (spread, low, high))
            problems.append(f"{kind} amplitude {seen} {unit} is outside {lowest} to {highest} {unit}")
    return problems


def require_plausible(recording: Recording) -> None:
    """Refuse a recording whose unit is probably wrong, by a ContractError with the implausible amplitude."""
    for problem in implausible_amplitudes(recording):
        raise ContractError(problem, file=recording.file, field="unit", fix="give the unit of the file with units=")
