"""Polyphase resampling with zero time shift."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field
from scipy import signal

from ..recording import Recording
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
        data = np.empty((recording.n_channels, -(-recording.n_times * up // down)), dtype=np.float32)
        for row, values in enumerate(recording.data):
            data[row] = resampled(values, up, down)
        return self.done(recording, {"from": recording.sfreq, "up": up, "down": down}, data=data, sfreq=self.sfreq)


def ratio(source: float, target: float) -> tuple[int, int]:
    """The smallest integers (up, down) with target = source * up / down to 1e-6 (under 4 ms in an hour)."""
    wanted = target / source
    for largest in (1, 10, 100, 1_000, 10_000, 100_000):
        fraction = Fraction(wanted).limit_denominator(largest)
        if abs(fraction - wanted) <= 1e-6 * wanted:
            return fraction.numerator, fraction.denominator
    return Fraction(wanted).limit_denominator(10_000_000).as_integer_ratio()


def resampled(values: np.ndarray, up: int, down: int) -> np.ndarray:
    """One channel at up / down times its rate; the first sample stays where it is.

    Parameters
    ----------
    values : ndarray, shape (n_times,)
    up, down : int

    Returns
    -------
    ndarray, shape (ceil(n_times * up / down),), float32
    """
    taps = antialias(up, down)
    half = len(taps) // 2
    n_out = -(-len(values) * up // down)
    reach = half // up + 1  # input samples that an output sample sees on either side
    # `blocks` periods of the phase pattern at a time: enough that few input samples are copied twice
    blocks = max(1, 2 * reach // down)
    span, step = 2 * reach + blocks * down, blocks * down
    if span * blocks * up > MAX_MATRIX:
        pad = down * -(-reach // down)  # a whole number of output samples
        longer = np.pad(values.astype(np.float32), pad, mode="reflect", reflect_type="odd")
        lead = pad * up // down
        return signal.resample_poly(longer, up, down, window=taps)[lead : lead + n_out]
    # The output samples of a block are fixed sums of the input samples of that block, so that all blocks are one
    # matrix product: several times faster than the scalar loop of scipy, for the same numbers.
    rows = -(-n_out // (blocks * up))
    after = max(0, (rows - 1) * step + span - reach - len(values))
    longer = np.pad(values.astype(np.float32), (reach, after), mode="reflect", reflect_type="odd")
    inputs = np.ascontiguousarray(sliding_window_view(longer, span)[::step][:rows])
    return (inputs @ _block_matrix(up, down, blocks, reach)).reshape(-1)[:n_out]


@lru_cache(maxsize=8)
def antialias(up: int, down: int) -> np.ndarray:
    """Taps (float32, odd number, unit gain) of the anti-alias filter at `up` times the input rate."""
    slower = max(up, down)
    taps = signal.firwin(2 * 16 * slower + 1, 0.88 / slower, window=("kaiser", 6.0)).astype(np.float32)
    taps.flags.writeable = False
    return taps


@lru_cache(maxsize=8)
def _block_matrix(up: int, down: int, blocks: int, reach: int) -> np.ndarray:
    """Weights, shape (2 * reach + blocks * down, blocks * up), of input sample i - reach in output sample k."""
    taps = antialias(up, down)
    i, k = np.ogrid[: 2 * reach + blocks * down, : blocks * up]
    tap = k * down - (i - reach) * up + len(taps) // 2
    weights = np.where((tap >= 0) & (tap < len(taps)), taps[np.clip(tap, 0, len(taps) - 1)] * np.float32(up), 0)
    return np.ascontiguousarray(weights, dtype=np.float32)
