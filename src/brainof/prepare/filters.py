"""Steps along time: trends, line noise, the common band, and the rate."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import soxr
from pydantic import Field, model_validator
from scipy import signal

from ..contract import FASTEST
from ..errors import RecordingError
from ..recording import Recording
from ..utils.memory import blocks, map_rows
from ..utils.values import ceil_div
from .steps import Step, refuse_too_short

#: Samples, at the slower of two rates, over which the filter of soxr falls to 1e-6 on either side
REACH = 96


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
        sections = [signal.tf2sos(*signal.iirnotch(freq, freq / self.width, fs=sfreq)) for freq in used]
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
        return signal.butter(self.order, edges, kind, fs=sfreq, output="sos")

    def _band(self, sfreq: float) -> tuple[float | None, float | None]:
        """What is left of low and high at a rate: there is nothing to cut above Nyquist."""
        low, high = (edge if edge is not None and edge < sfreq / 2 else None for edge in (self.low, self.high))
        return low, high


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
            longer = signal.sosfiltfilt(sections, longer, padtype="odd", padlen=min(pad, last - first - 1))
            pieces.append(longer[:, start - first : stop - first].astype(np.float32))
        return np.concatenate(pieces, axis=1)

    return map_rows(filtered, data)


def memory_of(sections: np.ndarray, tolerance: float = 1e-10) -> int:
    """Samples after which sections forget to `tolerance`: blocks that overlap by so much filter as the whole does."""
    radius = max(abs(np.roots(section[3:])).max() for section in sections)
    return int(np.ceil(np.log(tolerance) / np.log(radius))) if 0 < radius < 1 else 0


class Resample(Step):
    """Resampling to `sfreq` Hz by a linear-phase filter (soxr, high quality), with zero time shift.

    The filter passes 91 % of the lower Nyquist frequency and stops at it. The ends are continued by odd reflection, so
    that a level at the edge makes no step. (MNE's padded Fourier resampling moves signals by up to half a sample.)
    """

    name: ClassVar[str] = "resample"
    sfreq: float = Field(default=256.0, gt=0, le=FASTEST)

    def apply(self, recording: Recording) -> Recording:
        refuse_too_short(recording, 2, "resampling")
        up, down = ratio(recording.sfreq, self.sfreq)
        if not up:
            problem = f"{recording.sfreq:g} Hz is too fast to become {self.sfreq:g} Hz"
            raise RecordingError(problem, file=recording.file, field="sfreq", fix="check the rate")
        if up == down:
            return self.done(recording, {"from": recording.sfreq}, sfreq=self.sfreq)
        n_times = ceil_div(recording.n_times * up, down)
        data = map_rows(lambda values, _: resampled(values, up, down), recording.data, n_times)
        return self.done(recording, {"from": recording.sfreq, "up": up, "down": down}, data=data, sfreq=self.sfreq)


def ratio(source: float, target: float) -> tuple[int, int]:
    """The smallest integers (up, down) with target = source * up / down to 1e-6 (under 4 ms in an hour)."""
    wanted = target / source
    for largest in (1, 10, 100, 1_000, 10_000, 100_000):
        fraction = Fraction(wanted).limit_denominator(largest)
        if abs(fraction - wanted) <= 1e-6 * wanted:
            return fraction.numerator, fraction.denominator
    return Fraction(wanted).limit_denominator(10_000_000).as_integer_ratio()


def reach(up: int, down: int) -> int:
    """Input samples that an output sample depends on, on either side."""
    return ceil_div(REACH * max(up, down), up)


def resampled(values: np.ndarray, up: int, down: int) -> np.ndarray:
    """Rows (n_rows, n) at up / down times their rate: (n_rows, ceil(n * up / down)), float32, from the same instant."""
    n_rows, n = values.shape
    # whole periods, so that output samples fall on the first input sample, of one row and of the next
    before = down * ceil_div(reach(up, down), down)
    after = before + -n % down
    longer = np.pad(values.astype(np.float32, copy=False), ((0, 0), (before, after)), "reflect", reflect_type="odd")
    # one call for all rows: the filter is made once, and the margins keep them apart
    long = soxr.resample(longer.reshape(-1), down, up).reshape(n_rows, -1)
    first = before // down * up
    return long[:, first : first + ceil_div(n * up, down)]


def resample(recording: Recording, sfreq: float) -> Recording:
    """The recording at `sfreq` Hz (1 / TR for fMRI), without time shift.

    Raises RecordingError: the rate is not above 0 or beyond 100 kHz, or the recording is shorter than two samples.
    """
    if not 0 < sfreq <= FASTEST:
        fix = f"give a rate in Hz, at most {FASTEST:g}"
        raise RecordingError(f"{sfreq}", file=recording.file, field="sfreq", fix=fix)
    return Resample(sfreq=sfreq).apply(recording)
