"""Resampling with zero time shift, by soxr."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

import numpy as np
import soxr
from pydantic import Field

from ..contract import FASTEST
from ..errors import RecordingError
from ..recording import Recording
from ..utils.memory import map_rows
from ..utils.values import ceil_div
from .steps import Step, refuse_too_short

#: Samples, at the slower of two rates, over which the filter of soxr falls to 1e-6 on either side
REACH = 96


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
