"""Steps along time at one rate: trends, line noise and the common band; and the filter in space of MEG."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator
from scipy import signal

from ..recording import Recording
from ..utils.memory import blocks, map_rows
from .steps import Step, refuse_too_short

#: Orders of the spherical harmonics inside and outside the helmet (MNE's defaults)
INSIDE, OUTSIDE = 8, 3


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


class Maxwell(Step):
    """Signal-space separation (SSS, tSSS) by MNE: keep what comes from inside the helmet, take out what is far away.

    Needs coil geometry, a device-to-head transform and more sensors than components, which FIF files of whole-head
    systems have; elsewhere the recording stays as it is and says so. Bad sensors are found first, because SSS spreads
    them over all others, and rebuilt. With `st_duration` seconds it is the temporal form. Fine-calibration and
    cross-talk files are not used: where a site has them, clean with MNE first.
    Taulu and Simola, Physics in Medicine and Biology 51:1759 (2006).
    """

    name: ClassVar[str] = "maxwell"
    only: ClassVar[tuple[str, ...]] = ("meg",)
    st_duration: float | None = Field(default=None, gt=0)

    def apply(self, recording: Recording) -> Recording:
        if why := _missing(recording):
            return self.done(recording, {"applied": False, "why": why}).noted(f"no Maxwell filtering: {why}")
        import mne

        raw = recording.to_mne(annotations=False)
        with mne.use_log_level("error"):
            digitised = any(int(point["kind"]) == 4 for point in raw.info["dig"] or ())  # extra head-shape points
            space = {"origin": "auto" if digitised else (0.0, 0.0, 0.04), "int_order": INSIDE, "ext_order": OUTSIDE}
            space |= {"ignore_ref": True, "bad_condition": "warning"}
            noisy, flat = mne.preprocessing.find_bad_channels_maxwell(raw, **space)
            found = sorted({*noisy, *flat})
            raw.info["bads"] = [*raw.info["bads"], *(name for name in found if name not in raw.info["bads"])]
            cleaned = mne.preprocessing.maxwell_filter(raw, st_duration=self.st_duration, **space)
        data = cleaned.get_data().astype(np.float32)
        statistics = {"applied": True, "rebuilt": list(raw.info["bads"]), "found": found}
        return self.done(recording, statistics, data=data, bads=(), info=cleaned.info)


def _missing(recording: Recording) -> str | None:
    """Why a recording cannot be filtered."""
    if recording.info is None:
        return "the file's measurement info (coils, head position) is not known"
    if recording.info["dev_head_t"] is None:
        return "no device-to-head transform"
    if any(entry["max_info"].get("sss_info") for entry in recording.info["proc_history"] or ()):
        return "it was done before"
    needed = (INSIDE + 1) ** 2 - 1 + (OUTSIDE + 1) ** 2 - 1
    if (good := recording.n_channels - len(recording.bads)) < needed:
        return f"{good} sensors for {needed} components"
    if not np.isfinite(recording.channels.orientations).all():
        return "coils without position"
    return None
