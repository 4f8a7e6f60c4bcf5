"""Augmentation: what a window looks like in an epoch, as a pure function of (seed, epoch, row).

Nothing is invented: a shift drops samples, a dropped channel is masked, a window at another rate is the same signal
seen by a slower amplifier. Shape suffixes: B windows, C channels, T samples.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Annotated

import numpy as np
import scipy  # scipy.signal is imported on first use: it takes as long as half of torch
import torch
from pydantic import Field

from ..channels import MODALITIES
from ..schema import Schema
from ..signals import SignalBatch
from ..utils.values import ceil_div

#: Domain of the random numbers of augmentation among those that are derived from the seed of a run
AUGMENT_STREAM = 5


class AugmentConfig(Schema):
    """Changes of training windows; everything is off by default.

    Signals of fMRI are neither resampled nor shifted: their windows are few samples of slow repetition.
    """

    channel_dropout: float = Field(0.0, ge=0, lt=1)
    """Largest fraction of the good channels of a window that is masked; the fraction is uniform below it."""
    resample: list[Annotated[float, Field(ge=0.1, le=1)]] = Field(default_factory=list)
    """Factors of the sampling rate to choose from, at most 1 each (taken to the nearest ratio of small numbers): 0.5
    is half the rate. 1 is always a choice."""
    shift: float = Field(0.0, ge=0, lt=1)
    """Largest fraction of a window that is cut from its beginning; uniform below it."""
    gain: float = Field(0.0, ge=0, lt=1)
    """A window is multiplied by exp(u), u uniform within plus or minus this."""
    noise_snr: tuple[float, float] | None = None
    """Range of signal-to-noise ratios in dB of the white noise that is added; no noise when left out."""
    share: float = Field(1.0, ge=0, le=1)
    """Share of the windows that are changed at all."""

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        changes = self.channel_dropout or self.resample or self.shift or self.gain or self.noise_snr is not None
        return bool(changes) and self.share > 0


def augment(batch: SignalBatch, config: AugmentConfig, seed: int, epoch: int, patch: int) -> SignalBatch:
    """The windows of a batch as an epoch shows them, in float32, padded to a multiple of `patch` samples.

    The row of a window decides what happens to it, not its place in the batch; no window is cut below one patch.
    """
    signals, masks, n_times, intervals = [], [], [], []
    for place, row in enumerate(batch.rows):
        random = np.random.default_rng([seed, AUGMENT_STREAM, epoch, row])
        signal_CT = batch.signal_BCT[place, :, : int(batch.n_times_B[place])].float().numpy()
        good_C = batch.channel_mask_BC[place].numpy()
        rate = 1.0
        if random.random() < config.share:
            slow = MODALITIES[int(batch.modality_B[place])] == "fmri"
            signal_CT, good_C, rate = _window(signal_CT, good_C, config, random, patch, slow)
        signals.append(signal_CT)
        masks.append(good_C)
        n_times.append(signal_CT.shape[1])
        intervals.append(float(batch.interval_B[place]) / rate)
    signal_BCT = np.zeros((*batch.signal_BCT.shape[:2], ceil_div(max(n_times), patch) * patch), np.float32)
    for place, signal_CT in enumerate(signals):
        signal_BCT[place, :, : signal_CT.shape[1]] = signal_CT
    return replace(
        batch,
        signal_BCT=torch.from_numpy(signal_BCT),
        channel_mask_BC=torch.from_numpy(np.stack(masks)),
        n_times_B=torch.tensor(n_times),
        interval_B=torch.tensor(intervals, dtype=torch.float32),
    )


def _window(
    signal_CT: np.ndarray,
    good_C: np.ndarray,
    config: AugmentConfig,
    random: np.random.Generator,
    patch: int,
    slow: bool,
) -> tuple[np.ndarray, np.ndarray, float]:
    """One window; every draw is made whatever is switched on, so that switching one on leaves the others alone."""
    draws = random.random(5)
    rate = 1.0
    if config.resample and not slow:
        choice = ([1.0, *config.resample])[int(draws[0] * (len(config.resample) + 1))]
        if choice != 1 and signal_CT.shape[1] * choice >= patch:
            ratio = Fraction(choice).limit_denominator(100)
            rate = float(ratio)  # the polyphase filter shifts nothing
            up, down = ratio.as_integer_ratio()
            signal_CT = scipy.signal.resample_poly(signal_CT, up, down, axis=1, padtype="line").astype(np.float32)
    if config.shift and not slow:
        most = min(int(config.shift * signal_CT.shape[1]), signal_CT.shape[1] - patch)
        signal_CT = signal_CT[:, int(draws[1] * (max(most, 0) + 1)) :]
    if config.channel_dropout:
        good = np.flatnonzero(good_C)
        count = min(int(draws[2] * config.channel_dropout * len(good) + 0.5), len(good) - 1)
        dropped = random.permutation(good)[: max(count, 0)]
        good_C, signal_CT = good_C.copy(), signal_CT.copy()
        good_C[dropped] = False
        signal_CT[dropped] = 0.0
    if config.gain:
        signal_CT = signal_CT * np.float32(np.exp(config.gain * (2 * draws[3] - 1)))
    if config.noise_snr is not None:
        low, high = config.noise_snr
        snr = low + draws[4] * (high - low)  # dB below the mean power of the good channels, which get the noise
        power = float(np.mean(np.square(signal_CT[good_C], dtype=np.float64))) if good_C.any() else 0.0
        noise_CT = random.standard_normal(signal_CT.shape, np.float32) * np.float32((power / 10 ** (snr / 10)) ** 0.5)
        signal_CT = signal_CT + noise_CT * good_C[:, None]
    return signal_CT, good_C, rate
