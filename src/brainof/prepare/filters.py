"""Steps along time at one rate: trends, line noise and the common band."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import scipy
from pydantic import Field, model_validator

from ..recording import Recording
from ..utils.memory import blocks, map_rows
from .steps import Step, refuse_too_short


class Detrend(Step):
    """Subtract the least-squares polynomial of degree `order` from each channel (scanner drift)."""

    name: ClassVar[str] = "detrend"
    order: int = Field(default=1, ge=0, le=5)

    def apply(self, recording: Recording) -> Recording:
        refuse_too_short(recording, self.order + 2, "detrending")
        time = np.linspace(-1, 1, recording.n_times)
        basis, _ = np.linalg.qr(np.polynomial.legendre.legvander(time, self.order))

        def detrend(values: np.ndarray, _: slice) -> np.ndarray:
            values = values.astype(np.float64)
            return values - (values @ basis) @ basis.T

        return self.done(recording, data=map_rows(detrend, recording.data))


class Notch(Step):
    """Zero-phase notch at `freqs` Hz (line frequency and harmonics), `width` Hz wide at -3 dB per pass."""

    name: ClassVar[str] = "notch"
    freqs: tuple[float, ...] = Field(min_length=1)
    width: float = Field(default=2.0, gt=0)

    def apply(self, recording: Recording) -> Recording:
        refuse_too_short(recording, 2, "filtering")
        sections = self.sections(recording.sfreq)
        if sections is None:
            return self.done(recording, {"freqs": []})
        data = zero_phase(recording.data, sections, round(3 * recording.sfreq / self.width))
        return self.done(recording, {"freqs": [f for f in self.freqs if 0 < f < recording.sfreq / 2]}, data=data)

    def sections(self, sfreq: float) -> np.ndarray | None:
        """Second-order sections of one pass at `sfreq`; None where there is nothing to do."""
        used = [freq for freq in self.freqs if 0 < freq < sfreq / 2]
        sections = [scipy.signal.tf2sos(*scipy.signal.iirnotch(freq, freq / self.width, fs=sfreq)) for freq in used]
        return np.concatenate(sections) if sections else None


class Filter(Step):
    """Zero-phase Butterworth band-pass from `low` to `high` Hz (either may be None), run forwards and backwards.

    Second-order sections from scipy rather than an FIR from MNE: at 0.5 Hz an FIR is 6.6 s long, longer than many
    clips and windows, while sections work on any length and need a few numbers of state. Twice order 4 gives 48
    dB/octave. The ends are continued by odd reflection over three periods of `low`, as far as the recording reaches.
    """

    name: ClassVar[str] = "filter"
    low: float | None = Field(default=0.5, gt=0)
    high: float | None = Field(default=45.0, gt=0)
    order: int = Field(default=4, ge=1, le=8)

    @model_validator(mode="after")
    def _ordered(self) -> Filter:
        if self.low is None and self.high is None:
            raise ValueError("give low, high or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self

    def apply(self, recording: Recording) -> Recording:
        refuse_too_short(recording, 2, "filtering")
        low, high = self._band(recording.sfreq)
        sections = self.sections(recording.sfreq)
        if sections is None:
            return self.done(recording, {"low": low, "high": high})
        data = zero_phase(recording.data, sections, round(3 * recording.sfreq / (low or high or recording.sfreq / 2)))
        return self.done(recording, {"low": low, "high": high}, data=data)

    def sections(self, sfreq: float) -> np.ndarray | None:
        """Second-order sections of one pass at `sfreq`; None where there is nothing to do."""
        low, high = self._band(sfreq)
        if low is None and high is None:
            return None
        kind = "lowpass" if low is None else "highpass" if high is None else "bandpass"
        edges = (low, high) if low and high else low or high
        return _butterworth(self.order, edges, kind, sfreq)

    def _band(self, sfreq: float) -> tuple[float | None, float | None]:
        """What is left of low and high at a rate: there is nothing to cut above Nyquist."""
        low, high = (edge if edge is not None and edge < sfreq / 2 else None for edge in (self.low, self.high))
        return low, high


@lru_cache(maxsize=64)
def _butterworth(order: int, edges: Any, kind: str, sfreq: float) -> np.ndarray:
    """Designed once for the many recordings (or epochs) of one rate."""
    return scipy.signal.butter(order, edges, kind, fs=sfreq, output="sos")


def zero_phase(data: np.ndarray, sections: np.ndarray, pad: int) -> np.ndarray:
    """Sections (n, 6) both ways in float64 over (n_channels, n_times), ends reflected by `pad` samples; float32."""
    n_times, overlap = data.shape[1], memory_of(sections)
    pad = min(pad, n_times - 1)

    def filtered(values: np.ndarray, _: slice) -> np.ndarray:
        pieces = []
        for start, stop in blocks(n_times, overlap):  # long channels in pieces, so that copies in float64 stay small
            first, last = max(0, start - overlap), min(n_times, stop + overlap)
            # float64: poles of a 0.5 Hz high-pass sit too close to the unit circle for float32
            longer = values[:, first:last].astype(np.float64)
            longer = scipy.signal.sosfiltfilt(sections, longer, padtype="odd", padlen=min(pad, last - first - 1))
            pieces.append(longer[:, start - first : stop - first].astype(np.float32))
        return np.concatenate(pieces, axis=1)

    return map_rows(filtered, data)


def memory_of(sections: np.ndarray, tolerance: float = 1e-10) -> int:
    """Samples after which sections forget to `tolerance`: blocks that overlap by so much filter as the whole does."""
    radius = max(abs(np.roots(section[3:])).max() for section in sections)
    return int(np.ceil(np.log(tolerance) / np.log(radius))) if 0 < radius < 1 else 0
