"""Windows: which stretches of a prepared recording become training or evaluation examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from ..errors import RecordingError
from ..recording import Recording
from ..schema import Schema
from ..utils.values import ceil_div

#: Modality -> windows of a recipe that says nothing about them
DEFAULT_WINDOWS: dict[str, dict[str, Any]] = {
    "eeg": {"length": 4.0},
    "meg": {"length": 2.0},
    "fmri": {"whole": True, "n_times": 192},
}

#: Annotations whose name starts with one of these mark stretches that no window may touch (MNE's convention)
BAD_PREFIXES = ("bad", "edge")


class WindowOptions(Schema):
    """How a recording is cut. One of five ways:

    * `length` seconds (or `n_times` samples) every `stride` seconds;
    * `whole`: the whole recording; with `n_times`, the fewest equal windows of at most that many samples;
    * `events` with `tmin` and `tmax`: a fixed stretch around each event's onset;
    * `events` with `length` (and `stride`): as many windows as fit into each event;
    * `events` alone: blocks, each as long as its own event.

    Lengths and times are seconds unless they are said to be samples.
    """

    length: float | None = Field(default=None, gt=0)
    n_times: int | None = Field(default=None, ge=2)
    """Samples (volumes) instead of seconds."""
    stride: float | None = Field(default=None, gt=0)
    """`length` unless given."""
    min_length: float | None = Field(default=None, gt=0)
    """A remainder at the end (or a whole recording) shorter than the window but at least this long becomes a window
    too. Without it, remainders are dropped and shorter recordings refused."""
    whole: bool = False
    events: Literal["all"] | list[str] | None = None
    """Values of the events' trial_type."""
    tmin: float = 0.0
    """From the onset of the event, as is `tmax`."""
    tmax: float | None = None
    lag: float = 0.0
    """Added to every onset, such as 5 for the haemodynamic delay."""
    skip: float = Field(default=0.0, ge=0)
    """Start of the recording that no window of `length` or `n_times` uses, such as a repeated scene."""
    max_windows: int | None = Field(default=None, ge=1)
    """Keep at most so many, evenly spread over the recording."""

    @model_validator(mode="after")
    def _one_way(self) -> WindowOptions:
        ways = [self.length is not None and self.events is None, self.events is not None, self.whole]
        if sum(ways) > 1 or (self.length is not None and self.n_times is not None):
            raise ValueError("give one of length, n_times, whole and events")
        if not any(ways) and self.n_times is None:
            raise ValueError("give length (seconds), n_times (samples), whole or events")
        if self.events is None and (self.tmax is not None or self.tmin or self.lag):
            raise ValueError("tmin, tmax and lag need events")
        if self.events is not None and (self.n_times is not None or (self.stride is not None and self.length is None)):
            raise ValueError("n_times, and stride without length, do not go with events")
        if self.events is not None and self.length is not None and (self.tmax is not None or self.tmin):
            raise ValueError("give length or tmin and tmax of events, not both")
        if self.skip and (self.events is not None or self.whole):
            raise ValueError("skip goes with length or n_times")
        if self.tmax is not None and self.tmax <= self.tmin:
            raise ValueError(f"tmax ({self.tmax}) must be above tmin ({self.tmin})")
        return self


@dataclass(frozen=True, eq=False)
class Window:
    """One stretch of a prepared recording."""

    data: np.ndarray  # Shape (n_channels, n_times), float32: a view into the recording's data
    onset: float  # Seconds from the first sample of the recording
    labels: dict[str, str] = field(default_factory=dict)
    view: str = "pretrain"  # Or the name of a task with windows of its own


def cut(
    recording: Recording,
    options: WindowOptions,
    labels: Mapping[str, str] | None = None,
    *,
    view: str = "pretrain",
    event_labels: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None,
) -> list[Window]:
    """Cut a prepared recording (`Chain.apply`) into windows, in order of time; none where no event matches.

    `labels` of the whole recording are carried by every window, as is `view`; `event_labels` gives those of a window
    cut on an event from its row of the events table (a dict).

    Raises RecordingError: the recording is shorter than one window.
    """
    if options.events is not None:
        spans = _event_spans(recording, options)
    elif options.whole:
        shortest = 2 if options.min_length is None else max(2, _samples(options.min_length, recording))
        _refuse_shorter(recording, shortest)
        parts = ceil_div(recording.n_times, options.n_times or recording.n_times)
        length = recording.n_times // parts
        spans = [(part * length, (part + 1) * length, None) for part in range(parts)]
    else:
        spans = _sliding_spans(recording, options)
    bad = bad_stretches(recording)
    spans = [span for span in spans if not ((bad[:, 0] < span[1]) & (bad[:, 1] > span[0])).any()]
    if options.max_windows is not None and len(spans) > options.max_windows:
        spans = [spans[i] for i in np.linspace(0, len(spans) - 1, options.max_windows).round().astype(int)]
    windows = []
    for start, stop, row in spans:
        own = event_labels(row) if event_labels is not None and row is not None else {}
        windows.append(Window(recording.data[:, start:stop], start / recording.sfreq, {**(labels or {}), **own}, view))
    return windows


#: First sample, last + 1, and the row of the event that the window was cut on
_Span = tuple[int, int, dict[str, Any] | None]


def _samples(seconds: float, recording: Recording) -> int:
    return max(1, round(seconds * recording.sfreq))


def _sliding_spans(recording: Recording, options: WindowOptions) -> list[_Span]:
    n_times = options.n_times or _samples(options.length or 0, recording)
    stride = n_times if options.stride is None else _samples(options.stride, recording)
    shortest = n_times if options.min_length is None else _samples(options.min_length, recording)
    skip = round(options.skip * recording.sfreq)
    _refuse_shorter(recording, skip + min(shortest, n_times))
    starts = range(skip, recording.n_times - n_times + 1, stride)
    spans: list[_Span] = [(start, start + n_times, None) for start in starts]
    rest = starts[-1] + stride if spans else skip
    if shortest <= recording.n_times - rest < n_times:
        spans.append((rest, recording.n_times, None))
    return spans


def _event_spans(recording: Recording, options: WindowOptions) -> list[_Span]:
    spans: list[_Span] = []
    for row in recording.events.sort_values("onset", kind="stable").to_dict("records"):
        named = {str(key): value for key, value in row.items()}
        kind = str(named["trial_type"])
        if kind.lower().startswith(BAD_PREFIXES) if options.events == "all" else kind not in (options.events or ()):
            continue
        duration = named["duration"] if options.tmax is None else options.tmax - options.tmin
        start = round((named["onset"] + options.lag + options.tmin) * recording.sfreq)
        length = round(duration * recording.sfreq) if np.isfinite(duration) else 0
        if options.length is not None:
            n_times = _samples(options.length, recording)
            stride = n_times if options.stride is None else _samples(options.stride, recording)
            last = min(start + length, recording.n_times) - n_times
            spans += [(first, first + n_times, named) for first in range(start, last + 1, stride) if first >= 0]
        elif length >= 1 and start >= 0 and start + length <= recording.n_times:  # not over an edge
            spans.append((start, start + length, named))
    return spans


def bad_stretches(recording: Recording) -> np.ndarray:
    """First and last sample, shape (n, 2), of the annotations that no window may touch."""
    if recording.events.empty:
        return np.zeros((0, 2))
    names = recording.events["trial_type"].astype(str).str.lower()
    bad = recording.events[names.str.startswith(BAD_PREFIXES)]
    onset = pd.to_numeric(bad["onset"]).to_numpy(dtype=float)
    duration = np.nan_to_num(pd.to_numeric(bad["duration"]).to_numpy(dtype=float))
    first, last = np.floor(onset * recording.sfreq), np.ceil((onset + duration) * recording.sfreq)
    return np.stack([first, last], axis=1)


def _refuse_shorter(recording: Recording, shortest: int) -> None:
    if recording.n_times < shortest:
        there = f"{recording.duration:.3g} s ({recording.n_times} samples)"
        fix = "shorten windows.length, set windows.min_length, or leave the recording out"
        problem = f"{there} is shorter than one window ({shortest} samples)"
        raise RecordingError(problem, file=recording.file, field="windows", fix=fix)
