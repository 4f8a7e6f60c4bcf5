"""Embeddings of a live stream: chunks of any size in, one embedding per window out.

The offline chain looks at the whole recording: statistics, filters that run both ways, resampling. A stream has no end
to look at, so the statistics are frozen (`calibrate`), and a window is prepared from the raw samples around it: as far
back as the filters remember (to 1e-10), and `lookahead` seconds ahead. That stretch depends on the number of the window
alone, so that the sizes of chunks change no bit. docs/guide/interop.md says what "equal to offline" means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..channels import Channels
from ..contract import InputContract
from ..errors import ConfigError, ContractError
from ..prepare import Chain
from ..prepare.bads import BadChannels, Repair
from ..prepare.filters import Detrend, Filter, Notch, memory_of
from ..prepare.resampling import ratio, reach
from ..prepare.scaling import Normalise, Scales
from ..prepare.steps import Step
from ..recording import Recording
from ..utils.values import ceil_div
from .batches import patch_of, pooled
from .embeddings import Embeddings
from .examples import PreparedWindow, WindowList
from .windows import preparation, window_options

#: What the filters may still remember at the near end of a window by default
TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Calibration:
    """The statistics of one recording, frozen, and the chain (all `steps`) they belong to.

    Channels, rate (Hz) and modality are those of the stream; `means` (n_channels,) are offsets in SI units; `bads` the
    bad channels before normalisation.
    """

    steps: tuple[Step, ...]
    channels: Channels
    sfreq: float
    modality: str
    means: np.ndarray
    bads: tuple[str, ...]
    scales: Scales
    contract: InputContract | None = None

    @property
    def rate(self) -> float:
        """Rate after preparation, Hz."""
        return Chain(self.steps).sfreq or self.sfreq

    @property
    def good(self) -> np.ndarray:
        """Bool (n_channels,): True where the channel is used."""
        bads = {*self.bads, *self.scales.bads}
        return np.array([name not in bads for name in self.channels.names])

    def apply(self, recording: Recording) -> Recording:
        """A whole recording of the same channels and rate (a ContractError otherwise), with the frozen statistics."""
        if recording.channels.names != self.channels.names or recording.sfreq != self.sfreq:
            problem = f"{recording.n_channels} channels at {recording.sfreq:g} Hz are not those of the calibration"
            fix = "calibrate on a recording of the same set-up"
            raise ContractError(problem, file=recording.file, field="channels", fix=fix)
        data, gaps = self.prepare(recording.data)
        bads = tuple(name for name, fine in zip(self.channels.names, self.good & ~gaps, strict=True) if not fine)
        return recording.replace(data=data, sfreq=self.rate, bads=bads)

    def prepare(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A stretch of raw data as normalised float32, and the channels (bool) with gaps too long to bridge."""
        recording = Recording(data, self.sfreq, self.modality, self.channels)
        gaps = np.zeros(len(data), dtype=bool)
        for step in self.steps[:-1]:
            if isinstance(step, BadChannels):
                continue  # those of the calibration
            repaired = step.apply(recording)
            if isinstance(step, Repair):
                # the offset of the calibration in place of that of the stretch
                gaps = np.array([name in repaired.bads for name in self.channels.names])
                moved = np.where(gaps, 0.0, offsets(recording.data, repaired.data) - self.means)
                repaired.data[...] += moved[:, None].astype(np.float32)
                repaired = repaired.replace(bads=self.bads)
            recording = repaired
        normalise = self.steps[-1]
        assert isinstance(normalise, Normalise)
        values, _ = self.scales.apply(recording, normalise.clip)
        values[gaps] = 0.0
        return values, gaps


def calibrate(recording: Recording, contract: InputContract | None = None) -> Calibration:
    """Measure on a recording what a stream from the same set-up needs.

    Parameters
    ----------
    recording : Recording
        A minute or more of the same subject and set-up; checked against `contract`.
    contract : InputContract, optional
        Of the model; without it the default chain of the modality is used.

    Raises
    ------
    ContractError, ConfigError
        The recording does not meet the contract; the chain needs the whole recording (detrend), as that of fMRI does.
    """
    steps = preparation(recording, contract)[1].steps
    if not any(isinstance(step, Repair) for step in steps):
        steps = (Repair(), *steps)  # a live stream always may have gaps and offsets
    for step in steps:
        if isinstance(step, Detrend):
            problem = "needs the whole recording and cannot run on a stream"
            raise ConfigError(problem, field=step.name, fix="embed whole recordings")
    if not isinstance(steps[-1], Normalise):
        raise ConfigError("is not the last step", field="normalise", fix="normalise last")
    prepared, means = recording, np.zeros(recording.n_channels)
    for step in steps[:-1]:
        before, prepared = prepared, step.apply(prepared)
        if isinstance(step, Repair):
            means = offsets(before.data, prepared.data)
    scales = steps[-1].measure(prepared)
    return Calibration(
        steps, recording.channels, recording.sfreq, recording.modality, means, prepared.bads, scales, contract
    )


def offsets(raw: np.ndarray, repaired: np.ndarray) -> np.ndarray:
    """What `Repair` took out of each channel; 0 where all samples are missing."""
    found = np.zeros(len(raw))
    for row, (before, after) in enumerate(zip(raw, repaired, strict=True)):
        known = np.isfinite(before)
        if known.any():
            found[row] = np.subtract(before[known], after[known], dtype=np.float64).mean()
    return found


class StreamingEmbedder:
    """Embed a stream window by window.

    Parameters
    ----------
    model : module
        As for `brainof.embed`.
    calibration : Calibration
        From `calibrate`.
    pool : str
        Pooling over latents.
    window_seconds : float, optional
        Windows follow each other without overlap; by default as long as in training.
    lookahead : float, optional
        Seconds of signal after a window that are waited for, in all. By default what the filters need to forget all but
        1e-4 (about 8 s for a 0.5 Hz high-pass) and the resampler's reach; less is faster and less equal to offline.

    Attributes
    ----------
    latency : float
        Seconds from the first sample of a window to its embedding: window + lookahead (computing comes on top).

    Examples
    --------
    >>> embedder = StreamingEmbedder(model, calibrate(first_minute, contract))  # doctest: +SKIP
    >>> for chunk in stream:  # (n_channels, any number of samples), SI units  # doctest: +SKIP
    ...     found = embedder.push(chunk)
    """

    def __init__(
        self,
        model: torch.nn.Module,
        calibration: Calibration,
        *,
        pool: str = "auto",
        window_seconds: float | None = None,
        lookahead: float | None = None,
    ) -> None:
        self.model, self.calibration, self.pool = model, calibration, pool
        contract = calibration.contract
        self.patch = patch_of(model, contract)
        part = contract.modalities[calibration.modality] if contract else None
        two = np.zeros((len(calibration.channels), 2), np.float32)
        frame = Recording(two, calibration.rate, calibration.modality, calibration.channels)
        options = window_options(frame, part, window_seconds, self.patch)
        if options.n_times is None or options.whole:
            raise ConfigError(f"{calibration.modality} is embedded in whole recordings", field="modality")
        self.n_times = options.n_times
        self.up, self.down = ratio(calibration.sfreq, calibration.rate)
        filters = [step for step in calibration.steps if isinstance(step, (Notch, Filter))]
        reach_out = ceil_div(reach(self.up, self.down) * self.up, self.down) if self.up != self.down else 0
        self._behind = _forgetting(filters, calibration.rate, 1e-10) + reach_out
        ahead = _forgetting(filters, calibration.rate, TOLERANCE)
        self._ahead = ahead + reach_out if lookahead is None else round(lookahead * calibration.rate)
        if self._ahead < 0:
            raise ConfigError(f"{lookahead}", field="lookahead", fix="give seconds of 0 or more")
        self._chunks: list[np.ndarray] = []  # joined once a window is due, not at every push
        self._first = 0  # number of the first raw sample that is kept
        self._received = 0
        self._window = 0
        self._finished = False

    @property
    def latency(self) -> float:
        return (self.n_times + self._ahead) / self.calibration.rate

    def push(self, chunk: np.ndarray) -> Embeddings | None:
        """Take raw samples (n_channels, any number) in SI units; embeddings of the windows that became complete.

        Raises
        ------
        ContractError
            Another number of channels.
        ConfigError
            The stream was finished.
        """
        chunk = np.asarray(chunk)
        if self._finished:
            raise ConfigError("was called after finish", field="push", fix="make a new StreamingEmbedder")
        if chunk.ndim != 2 or len(chunk) != len(self.calibration.channels):
            problem = f"shape {chunk.shape}, calibrated on {len(self.calibration.channels)} channels"
            raise ContractError(problem, field="chunk", fix="give (n_channels, n_samples)")
        if chunk.shape[1]:
            self._chunks.append(np.array(chunk, dtype=np.float32))
            self._received += chunk.shape[1]
        ready = []
        while self._received >= self._needed(self._window):
            ready.append(self._embed(self._window, self.n_times, self._needed(self._window)))
            self._window += 1
            start = self._start(self._window)
            if start > self._first:  # what no later window looks at is forgotten
                self._chunks, self._first = [self._joined()[:, start - self._first :].copy()], start
        return Embeddings.concatenate(ready) if ready else None

    def finish(self) -> Embeddings | None:
        """The stream has ended: the windows that still waited, the rest (from one patch on) as a shorter one."""
        self._finished = True
        total = ceil_div(self._received * self.up, self.down)
        ready = []
        while (length := min(self.n_times, total - self._window * self.n_times)) >= self.patch:
            ready.append(self._embed(self._window, length, self._received))
            self._window += 1
        return Embeddings.concatenate(ready) if ready else None

    def _needed(self, window: int) -> int:
        """Raw samples, from the start of the stream, that a window waits for."""
        last = (window + 1) * self.n_times + self._ahead
        return ceil_div(last * self.down, self.up)

    def _start(self, window: int) -> int:
        """First raw sample that a window looks at: a whole period of the resampler, where samples coincide."""
        first = max(0, window * self.n_times - self._behind)
        return first // self.up * self.down

    def _embed(self, window: int, length: int, stop: int) -> Embeddings:
        start = self._start(window)
        values, gaps = self.calibration.prepare(self._joined()[:, start - self._first : stop - self._first])
        offset = window * self.n_times - start // self.down * self.up
        data = values[:, offset : offset + length]
        good = self.calibration.good & ~gaps
        sfreq, modality = self.calibration.rate, self.calibration.modality
        about = {"onset": window * self.n_times / sfreq, "duration": length / sfreq, "modality": modality}
        one = WindowList([PreparedWindow(data, self.calibration.channels, sfreq, modality, good, about)], self.patch)
        return Embeddings(pooled(self.model, one, self.pool).astype(np.float32), one.describe())

    def _joined(self) -> np.ndarray:
        if len(self._chunks) > 1:
            self._chunks = [np.concatenate(self._chunks, axis=1)]
        return self._chunks[0]


def _forgetting(filters: list[Any], rate: float, tolerance: float) -> int:
    """Samples over which filters one after the other forget to `tolerance`."""
    sections = [step.sections(rate) for step in filters]
    return sum(memory_of(found, tolerance) for found in sections if found is not None)
