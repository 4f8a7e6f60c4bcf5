"""Polyphase resampling with zero time shift."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field
from scipy import signal

from ..errors import RecordingError
from ..recording import Recording
from ..utils.memory import blocks, empty, release
from .bads import refuse_too_short
from .steps import Step

#: Largest block matrix (numbers) for which the polyphase filter runs as one matrix product
MAX_MATRIX = 2_000_000


class Resample(Step):
    """Polyphase resampling to `sfreq` Hz, with zero time shift.

    The anti-alias filter is a linear-phase FIR (Kaiser, about 63 dB) that passes 76 % of the lower Nyquist frequency
    and stops at it. Polyphase, because Fourier resampling with padding moves signals by up to half a sample. The
    ends are continued by odd reflection, so a level at the edge makes no step.
    """

    name: ClassVar[str] = "resample"
    sfreq: float = Field(default=256.0, gt=0)

    def apply(self, recording: Recording) -> Recording:
        refuse_too_short(recording, 2, "resampling")
        up, down = ratio(recording.sfreq, self.sfreq)
        if up == down:
            return self.done(recording, {"from": recording.sfreq}, sfreq=self.sfreq)
        data = empty((recording.n_channels, -(-recording.n_times * up // down)))
        for row, values in enumerate(recording.data):
            resampled(values, up, down, out=data[row])
            release(recording.data, data)
        return self.done(recording, {"from": recording.sfreq, "up": up, "down": down}, data=data, sfreq=self.sfreq)


def ratio(source: float, target: float) -> tuple[int, int]:
    """The smallest integers (up, down) with target = source * up / down to 1e-6 (under 4 ms in an hour)."""
    wanted = target / source
    for largest in (1, 10, 100, 1_000, 10_000, 100_000):
        fraction = Fraction(wanted).limit_denominator(largest)
        if abs(fraction - wanted) <= 1e-6 * wanted:
            return fraction.numerator, fraction.denominator
    return Fraction(wanted).limit_denominator(10_000_000).as_integer_ratio()


def resampled(values: np.ndarray, up: int, down: int, out: np.ndarray | None = None) -> np.ndarray:
    """One channel at up / down times its rate; the first sample stays where it is.

    Parameters
    ----------
    values : ndarray, shape (n_times,)
    up, down : int
    out : ndarray, shape (ceil(n_times * up / down),), float32, optional
        Where the result goes.

    Returns
    -------
    ndarray, shape (ceil(n_times * up / down),), float32
    """
    n_out = -(-len(values) * up // down)
    out = np.empty(n_out, dtype=np.float32) if out is None else out
    reach = len(antialias(up, down)) // 2 // up + 1  # input samples that an output sample sees on either side
    # periods of the phase pattern at a time: enough that few input samples are copied twice
    periods = max(1, 2 * reach // down)
    as_product = (2 * reach + periods * down) * periods * up <= MAX_MATRIX
    form = _as_product if as_product else _by_scipy
    period = (down * periods, up * periods) if as_product else (down, up)  # samples in, samples out
    # blocks of the channel begin at whole periods, where an output sample falls on an input sample
    for start, stop in blocks(-(-len(values) // period[0]), -(-reach // period[0]), every=period[0]):
        first, last = start * period[1], min(n_out, stop * period[1])
        out[first:last] = form(values, start * period[0], last - first, up, down, reach, periods)
    return out


def _as_product(values: np.ndarray, start: int, n_out: int, up: int, down: int, reach: int, periods: int) -> np.ndarray:
    """`n_out` output samples from input sample `start` on.

    The output samples of some periods are fixed sums of the input samples around them, so that all are one matrix
    product: several times faster than the scalar loop of scipy, for the same numbers.
    """
    rows, step = -(-n_out // (periods * up)), periods * down
    span = 2 * reach + step
    inputs = sliding_window_view(_reflected(values, start - reach, start + (rows - 1) * step + span - reach), span)
    return (np.ascontiguousarray(inputs[::step][:rows]) @ _block_matrix(up, down, periods, reach)).reshape(-1)[:n_out]


def _by_scipy(values: np.ndarray, start: int, n_out: int, up: int, down: int, reach: int, periods: int) -> np.ndarray:
    """The same where the matrix would be too large."""
    pad = down * -(-reach // down)  # a whole number of output samples
    longer = _reflected(values, start - pad, start + -(-n_out * down // up) + pad)
    lead = pad * up // down
    return signal.resample_poly(longer, up, down, window=antialias(up, down))[lead : lead + n_out]


def _reflected(values: np.ndarray, start: int, stop: int) -> np.ndarray:
    """float32 values[start:stop], continued beyond the ends by odd reflection."""
    first, last = max(0, start), min(len(values), stop)
    # reflection needs samples to reflect, so the piece reaches as far inwards as it goes outwards
    first, last = max(0, min(first, len(values) - (stop - last) - 1)), min(len(values), max(last, first - start + 1))
    piece = values[first:last].astype(np.float32)
    longer = np.pad(piece, (max(0, -start), max(0, stop - len(values))), mode="reflect", reflect_type="odd")
    begin = max(0, start - first)
    return longer[begin : begin + stop - start]


@lru_cache(maxsize=8)
def antialias(up: int, down: int) -> np.ndarray:
    """Taps (float32, odd number, unit gain) of the anti-alias filter at `up` times the input rate."""
    slower = max(up, down)
    taps = signal.firwin(2 * 16 * slower + 1, 0.88 / slower, window=("kaiser", 6.0)).astype(np.float32)
    taps.flags.writeable = False
    return taps


@lru_cache(maxsize=8)
def _block_matrix(up: int, down: int, periods: int, reach: int) -> np.ndarray:
    """Weights, shape (2 * reach + periods * down, periods * up), of input sample i - reach in output sample k."""
    taps = antialias(up, down)
    i, k = np.ogrid[: 2 * reach + periods * down, : periods * up]
    tap = k * down - (i - reach) * up + len(taps) // 2
    weights = np.where((tap >= 0) & (tap < len(taps)), taps[np.clip(tap, 0, len(taps) - 1)] * np.float32(up), 0)
    return np.ascontiguousarray(weights, dtype=np.float32)


def resample(recording: Recording, sfreq: float) -> Recording:
    """The recording at `sfreq` Hz (1 / TR for fMRI): polyphase, without time shift.

    Raises
    ------
    RecordingError
        The rate is not above 0, or the recording is shorter than two samples.
    """
    if not (np.isfinite(sfreq) and sfreq > 0):
        raise RecordingError(f"{sfreq}", file=recording.provenance.get("file"), field="sfreq", fix="give a rate in Hz")
    return Resample(sfreq=sfreq).apply(recording)
