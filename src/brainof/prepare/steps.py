"""What a preparation step is: a small checked configuration with one pure `apply`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ..channels import MODALITIES
from ..errors import RecordingError
from ..recording import Recording
from ..schema import Schema
from ..utils.memory import each_row

#: Quartiles of longer channels (18 h at 256 Hz) are taken from every second, third, ... sample
MOST_FOR_QUARTILES = 2**24
#: Samples that are sorted in one call
SMALL = 1_000_000


class Step(Schema):
    """One named, serialisable step of a chain.

    A subclass sets `name` and defines `apply`, which returns a new recording and leaves its input as it was. What the
    step measured or changed goes into `provenance["steps"]` (see `done`).
    """

    name: ClassVar[str]
    only: ClassVar[tuple[str, ...]] = MODALITIES
    """Modalities that the step is made for."""

    def apply(self, recording: Recording) -> Recording:
        """The recording after this step."""
        raise NotImplementedError

    def done(self, recording: Recording, statistics: dict[str, Any] | None = None, **changes: Any) -> Recording:
        """A copy of `recording` with `changes`, and this step with its statistics in the provenance."""
        kept = [*recording.provenance.get("steps", ()), {"step": self.name, **(statistics or {})}]
        return recording.replace(**changes, provenance={**recording.provenance, "steps": kept})


def good_rows(recording: Recording) -> np.ndarray:
    """Bool (n_channels,): True where the channel is not marked bad."""
    bads = set(recording.bads)
    return np.array([name not in bads for name in recording.channels.names], dtype=bool)


def rows_by_type(recording: Recording, chosen: np.ndarray | bool = True) -> dict[str, np.ndarray]:
    """Sensor type -> indices of its channels, of those `chosen` by a bool array (n_channels,)."""
    types = np.array(recording.channels.types)
    return {kind: np.flatnonzero((types == kind) & chosen) for kind in sorted(set(recording.channels.types))}


def with_bads(recording: Recording, rows: Iterable[int]) -> tuple[str, ...]:
    """`recording.bads` and the channels of `rows`, in channel order; RecordingError where no good channel is left."""
    bads = set(recording.bads) | {recording.channels.names[row] for row in rows}
    if len(bads) >= recording.n_channels:
        fix = "all are flat, not finite or outliers; check the unit and what was picked"
        raise RecordingError("no usable channel is left", file=recording.file, field="channels", fix=fix)
    return tuple(name for name in recording.channels.names if name in bads)


def robust_centre_and_scale(
    data: np.ndarray, rows: np.ndarray | None = None, step: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Median and IQR / 1.349 of `rows` of `data` (n_channels, n_times), every `step`-th sample; (n_rows,), float64."""
    chosen = np.arange(len(data)) if rows is None else rows
    step = max(step, data.shape[1] // MOST_FOR_QUARTILES)
    if len(chosen) * data.shape[1] <= SMALL:  # of a short window the call costs more than the sort
        low, middle, high = np.percentile(data[chosen, ::step], (25, 50, 75), axis=1)
    else:  # one row at a time: percentile sorts a copy
        quartiles = [np.percentile(values[::step], (25, 50, 75)) for values in each_row(data, chosen)]
        low, middle, high = np.transpose(quartiles)
    return middle, (high - low) / 1.349


def refuse_too_short(recording: Recording, n_times: int, what: str) -> None:
    """Raise RecordingError when the recording has fewer than `n_times` samples."""
    if recording.n_times < n_times:
        text = f"{recording.n_times} samples are too few for {what} (needs {n_times})"
        raise RecordingError(text, file=recording.file, field="n_times", fix="leave the recording out")
