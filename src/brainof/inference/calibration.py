"""The statistics of one recording, frozen for a live stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..channels import Channels
from ..contract import InputContract
from ..errors import ConfigError, ContractError
from ..prepare import Chain
from ..prepare.bads import BadChannels, Repair
from ..prepare.filters import Detrend
from ..prepare.scaling import Normalise, Scales
from ..prepare.steps import Step
from ..recording import Recording
from .windows import preparation


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
