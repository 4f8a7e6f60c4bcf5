"""Any sampling rate: signals are read on the time grid of the model, so that a patch is a stretch of time.

A patch is 64 samples, at 256 Hz a quarter of a second. Read at its own rate, a signal of 128 Hz would make patches of
half a second, with other waveforms, other frequencies in each bin and another number of tokens: another signal
(docs/decisions/0079). `on_grid` interpolates it to the rate of the model; within the band of both, nothing is lost.

Legend: B windows, C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..signals import SignalBatch
from ..utils.values import ceil_div
from .tokens import valid_samples

#: Relative difference of two sampling rates that are taken as one
SAME_RATE = 1e-3
#: Zero crossings of the interpolating kernel on each side, and the fraction of the lower band that passes
CROSSINGS, ROLLOFF = 16, 0.95


def on_grid(batch: SignalBatch, rates: Mapping[str, float], patch: int) -> SignalBatch:
    """The batch at the rates of the model, in Hz by modality; unchanged where it is, or where none is given.

    Windows of several rates end up equally long, padded to whole patches. Samples that do not count become zero.
    """
    rate = rates.get(batch.modality)
    if rate is None:
        return batch
    given = (1 / batch.interval_B.double()).tolist()
    if all(abs(sfreq / rate - 1) < SAME_RATE for sfreq in given):
        return batch
    signal_BCT = torch.where(valid_samples(batch), batch.signal_BCT, 0)
    found = [
        resample(signal_CT[:, :n_times], sfreq, rate)
        for signal_CT, n_times, sfreq in zip(signal_BCT, batch.n_times_B.tolist(), given, strict=True)
    ]
    lengths = [signal_CT.shape[-1] for signal_CT in found]
    length = ceil_div(max(lengths), patch) * patch
    return replace(
        batch,
        signal_BCT=torch.stack([F.pad(signal_CT, (0, length - signal_CT.shape[-1])) for signal_CT in found]),
        n_times_B=batch.n_times_B.new_tensor(lengths),
        interval_B=torch.full_like(batch.interval_B, 1 / rate),
    )


def resample(signal_CT: Tensor, sfreq: float, rate: float) -> Tensor:
    """Band-limited interpolation of signals (C, T) from one rate to another (Hz), without a delay.

    Ends are continued by odd reflection, as far as the signal reaches.

    Examples
    --------
    >>> import torch
    >>> from brainof.model.resolution import resample
    >>> resample(torch.randn(19, 512), 128.0, 256.0).shape
    torch.Size([19, 1024])
    """
    if abs(sfreq / rate - 1) < SAME_RATE:
        return signal_CT
    ratio = Fraction(rate / sfreq).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    kernel, width = _kernel(up, down)
    n_times = max(1, round(signal_CT.shape[-1] * up / down))
    reach = min(width, signal_CT.shape[-1] - 1)
    first, last = signal_CT[:, :1], signal_CT[:, -1:]
    before = 2 * first - signal_CT[:, 1 : reach + 1].flip(-1)
    after = 2 * last - signal_CT[:, -reach - 1 : -1].flip(-1)
    extended_C1T = torch.cat([before, signal_CT, after], -1)[:, None]
    extended_C1T = F.pad(extended_C1T, (width - reach, width - reach + down), mode="replicate")
    made = F.conv1d(extended_C1T, kernel.to(signal_CT.device, signal_CT.dtype), stride=down)  # (C, `up` phases, steps)
    return made.transpose(1, 2).flatten(1)[:, :n_times]


@lru_cache
def _kernel(up: int, down: int) -> tuple[Tensor, int]:
    """Windowed sinc (up, 1, taps) at the `up` places between two input samples that a step of `down` visits."""
    cutoff = ROLLOFF * min(1.0, up / down)  # of the Nyquist frequency of the input
    width = int(CROSSINGS / cutoff) + 1
    taps = torch.arange(-width, width + down, dtype=torch.float64)
    place = torch.arange(up, dtype=torch.float64)[:, None] * down / up
    distance = (taps - place) * cutoff
    window = torch.cos(distance.clamp(-CROSSINGS, CROSSINGS) * torch.pi / CROSSINGS / 2).square()
    kernel = cutoff * torch.sinc(distance) * window
    return (kernel / kernel.sum(1, keepdim=True))[:, None], width
