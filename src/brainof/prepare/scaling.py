"""Steps across channels: reference and robust normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ..recording import Recording
from ..utils.memory import each_row, map_rows
from .steps import Step, good_rows, robust_centre_and_scale, rows_by_type, with_bads


class Reference(Step):
    """Re-reference EEG to the average of its good electrodes, or leave it as recorded.

    Below `min_channels` good electrodes the average is no estimate of zero, and the recording is left as it is. MEG
    and fMRI have no reference.
    """

    name: ClassVar[str] = "reference"
    kind: Literal["average", "none"] = "average"
    min_channels: int = Field(default=16, ge=2)

    def apply(self, recording: Recording) -> Recording:
        rows = rows_by_type(recording, good_rows(recording)).get("eeg", ())
        if self.kind == "none" or len(rows) < self.min_channels:
            return self.done(recording, {"kind": "none"})
        average = np.zeros(recording.n_times)
        for values in each_row(recording.data, rows):
            average += values
        average = (average / len(rows)).astype(recording.data.dtype)
        data = map_rows(lambda values, _: values - average, recording.data, dtype=recording.data.dtype)
        return self.done(recording, {"kind": "average", "channels": len(rows)}, data=data)


class Normalise(Step):
    """Median out per channel, divide by a robust scale, clip; bad channels become zero. float32.

    EEG and MEG: one scale per sensor type, the median over good channels of IQR / 1.349, so that the relations
    between channels stay. fMRI: one scale per region, but at least `floor` times the median scale; a region below
    `dead` times it carries no signal and is marked bad. `clip` is in units of the scale.
    """

    name: ClassVar[str] = "normalise"
    per: Literal["type", "channel"] = "type"
    clip: float = Field(default=10.0, gt=0)
    floor: float = Field(default=0.1, ge=0, le=1)
    dead: float = Field(default=1e-3, ge=0, lt=1)

    def apply(self, recording: Recording) -> Recording:
        scales = self.measure(recording)
        data, clipped = scales.apply(recording, self.clip)
        statistics = {"scale": scales.middle, "dead": scales.dead, "clipped": clipped / max(1, data.size)}
        return self.done(recording, statistics, data=data, bads=scales.bads)

    def measure(self, recording: Recording) -> Scales:
        """The statistics of a recording that `apply` uses."""
        good = good_rows(recording)
        centres, scales = robust_centre_and_scale(recording.data)
        divisors, middles, dead = np.ones(len(good)), {}, []
        for kind, rows in rows_by_type(recording).items():
            alive = rows[good[rows]]
            middle = float(np.median(scales[alive])) if len(alive) else 0.0
            if not middle > 0 and (scales[alive] > 0).any():
                # more than half of the channels are constant: the scale is that of the others
                middle = float(np.median(scales[alive][scales[alive] > 0]))
            dead += alive[~(scales[alive] > self.dead * middle)].tolist()
            divisors[rows] = np.maximum(scales[rows], self.floor * middle) if self.per == "channel" else middle
            middles[kind] = middle
        names = [recording.channels.names[row] for row in dead]
        return Scales(centres, divisors, with_bads(recording, dead), middles, names)


class Volumes(Step):
    """Centre each volume over the good regions and divide it by their standard deviation; bad regions become zero.

    After `normalise`, which scales each region over time: the global signal and its amplitude go, and what is left is
    the pattern of each moment. fMRI only, and not by default.
    """

    name: ClassVar[str] = "volumes"
    only: ClassVar[tuple[str, ...]] = ("fmri",)

    def apply(self, recording: Recording) -> Recording:
        good = good_rows(recording)
        rows, total, square = np.flatnonzero(good), np.zeros(recording.n_times), np.zeros(recording.n_times)
        for values in each_row(recording.data, rows):
            total += values
            square += np.square(values, dtype=np.float64)
        mean = total / len(rows)
        spread = np.sqrt(np.maximum(square / len(rows) - mean**2, 0))
        factor = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-6)
        data = map_rows(lambda values, some: np.where(good[some, None], (values - mean) * factor, 0), recording.data)
        return self.done(recording, {"spread": float(np.median(spread))}, data=data)


@dataclass(frozen=True, eq=False)
class Scales:
    """What `Normalise` measured: per channel centre and divisor, then bad channels, scale per type, dead channels."""

    centres: np.ndarray
    divisors: np.ndarray
    bads: tuple[str, ...]
    middle: dict[str, float]
    dead: list[str]

    def apply(self, recording: Recording, clip: float) -> tuple[np.ndarray, int]:
        """Normalised data of a recording of the same channels, bad ones zero, and how many samples were clipped."""
        good = good_rows(recording.replace(bads=self.bads))
        dtype = recording.data.dtype  # float32 after any other step, which holds a centred signal well
        centres, factors = self.centres.astype(dtype), np.where(good, 1 / self.divisors, 0).astype(dtype)
        clipped = 0

        def scaled(values: np.ndarray, rows: slice) -> np.ndarray:
            nonlocal clipped
            scaled = (values - centres[rows, None]) * factors[rows, None]
            clipped += int(np.count_nonzero(np.abs(scaled) > clip))
            return np.clip(scaled, -clip, clip, out=scaled)

        return map_rows(scaled, recording.data), clipped
