"""What a bare array does not say: its time axis, rate, pauses and modality. Names decide before sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..channels import MODALITY_OF_TYPE
from ..errors import ReadError
from .nifti_header import MAX_TR, MIN_TR
from .options import ReadRequest
from .positions import electrode_positions
from .units import FACTORS, plain

#: names under which files keep their rate (Hz), their repetition time (s), the time of each sample (s), channel names
RATE_NAMES = ("sfreq", "fs", "srate", "sampling_rate", "sampling_frequency", "samplingrate", "sample_rate")
TR_NAMES = ("tr", "t_r", "repetition_time", "repetitiontime")
TIME_NAMES = ("t", "time", "times", "timestamp", "timestamps")
CHANNEL_NAMES = (
    "ch_names",
    "channel_names",
    "channels",
    "chan_names",
    "electrodes",
    "labels",
    "names",
    "regions",
    "rois",
)
#: columns that count rows
INDEX_NAMES = ("index", "row", "sample", "samples", "sample index", "sample_index")

#: a name of the time of samples, and the unit that may follow it
_TIME = re.compile(
    rf"({'|'.join(TIME_NAMES)})(?:[\s_]*[\[(]?\s*(s|sec|secs|seconds?|ms|msec|milliseconds?|us|usec|\u00b5s)?[\])]?)?",
    re.I,
)
_SECONDS = {"m": 1e-3, "u": 1e-6, "\u00b5": 1e-6}

#: one axis this many times longer than the other is taken for time (with a note)
_CLEARLY_LONGER = 20
#: Hz; EEG and MEG are never recorded more slowly
_LOWEST_SFREQ = 10.0
#: a step of the time column is a pause above 1.5 usual steps, but not below this many seconds (packets come late)
_SHORTEST_PAUSE = 0.1


def time_column(name: str) -> tuple[str, float] | None:
    """Of a column of times, such as `Time (ms)`: its name in `TIME_NAMES`, and seconds per unit; else None."""
    found = _TIME.fullmatch(name.strip())
    return None if found is None else (found[1].lower(), _SECONDS.get((found[2] or "s").lower()[0], 1.0))


def time_axis(
    shape: tuple[int, int], n_channels: int | None, vectors: Mapping[str, int], variable: str, request: ReadRequest
) -> tuple[int, list[str]]:
    """The axis of time of the 2-D array `variable`, and notes; it is never guessed where two readings are possible.

    `n_channels` is what names or the atlas tell, `vectors` are the lengths of the numeric vectors beside the array.

    Raises ReadError: neither axis fits the number of channels, or nothing decides.
    """
    options, (n0, n1) = request.options, shape
    if options.time_axis is not None:
        return options.time_axis, []
    if n_channels is not None and n_channels not in shape:
        problem = f"shape {n0}x{n1} does not fit {n_channels} channels"
        raise ReadError(problem, file=request.path, field=variable, fix="check atlas.labels= or channel_names=")
    if n0 != n1:
        if n_channels is not None:
            return int(n0 == n_channels), []
        named = {n for name, n in vectors.items() if name.lower() in TIME_NAMES or name == options.events_variable}
        # a vector without such a name may belong to the channels, unless it is as long as the longer axis
        fits = named & {n0, n1} or set(vectors.values()) & {max(shape)}
        if len(fits) == 1:
            return int(n1 in fits), []
        if max(shape) >= _CLEARLY_LONGER * min(shape):
            note = f"the longer axis of {variable} ({n0} x {n1}) was taken for time (time_axis= to change)"
            return int(n1 > n0), [note]
    fix = "give time_axis=0 (rows) or time_axis=1 (columns), or an atlas"
    raise ReadError(f"is time in the rows or the columns of {n0}x{n1}?", file=request.path, field=variable, fix=fix)


def sampling_rate(
    vectors: Mapping[str, np.ndarray], modality: str, request: ReadRequest
) -> tuple[float, np.ndarray, list[str]]:
    """Samples per second, the samples after pauses of the time column, and notes; ReadError if nothing tells it."""
    path = request.path
    named = {name.lower(): vector for name, vector in vectors.items() if vector.dtype.kind in "fiu"}
    time = next((named[name] for name in TIME_NAMES if name in named and named[name].size > 2), None)
    by_time, pauses, notes = _steps(np.array([]) if time is None else time, request.options.rate)
    if request.options.rate is not None:
        return request.options.rate, pauses, notes
    for name in (*RATE_NAMES, *TR_NAMES):
        value = float(named[name][0]) if name in named and named[name].size == 1 else 0.0
        if not 0 < value < np.inf:
            continue
        t_r = value if name in TR_NAMES else 1 / value
        if name in TR_NAMES and t_r > MAX_TR:
            raise ReadError(f"{value:g} s looks like milliseconds", file=path, field=name, fix="give t_r= in seconds")
        if modality == "fmri" and t_r < MIN_TR:
            raise ReadError(f"TR {t_r:g} s is too short", file=path, field=name, fix="give t_r= in seconds")
        return (value if name in RATE_NAMES else 1 / value), pauses, notes
    if by_time <= 0:
        raise ReadError("is not in the file", file=path, field="sampling rate", fix="give sfreq= (Hz) or t_r= (s)")
    if modality == "fmri" and by_time > 1 / MIN_TR:
        problem = f"steps of {1 / by_time:g} s are too short for a TR"
        raise ReadError(problem, file=path, field="time column", fix="give t_r= in seconds")
    slowest = 1 / MAX_TR if modality == "fmri" else _LOWEST_SFREQ
    if by_time < slowest:
        unit, scale = ("milliseconds", 1e3) if by_time * 1e3 >= slowest else ("microseconds", 1e6)
        fix = f"give t_r={1 / by_time / scale:g}" if modality == "fmri" else f"give sfreq={by_time * scale:g}"
        problem = f"steps of {1 / by_time:g} look like {unit}"
        raise ReadError(problem, file=path, field="time column", fix=fix)
    return by_time, pauses, notes


def _steps(time: np.ndarray, sfreq: float | None) -> tuple[float, np.ndarray, list[str]]:
    """Rate within the stretches between pauses (0: none can be told), the first sample after each pause, and notes."""
    steps = np.diff(time.astype(float))
    forward = steps[np.isfinite(steps) & (steps > 0)]
    if not forward.size:
        return 0.0, np.array([], dtype=int), []
    usual = float(np.median(forward))
    shortest = _SHORTEST_PAUSE * (1000 if sfreq is not None and usual * sfreq > 100 else 1)  # milliseconds
    good = np.abs(steps) <= max(1.5 * usual, shortest)
    pauses = np.flatnonzero(~good) + 1
    # packets overlap or share a time stamp (Muse), and clocks of milliseconds are rounded: only the mean is exact
    rate = int(good.sum()) / float(steps[good].sum()) if steps[good].sum() > 0 else 0.0
    rate = round(rate, 3) if rate > 1 else float(f"{rate:.6g}")
    if not pauses.size:
        return rate, pauses, []
    longest = np.nanmax(np.abs(steps[pauses - 1]))
    note = f"time pauses or jumps {pauses.size} times, by up to {longest:.6g} (no window lies over them)"
    return rate, pauses, [note]


def modality_of(names: tuple[str, ...] | None, variable: str, has_atlas: bool, request: ReadRequest) -> str:
    """The modality asked for, or told by types, units, atlas, names or variable; ReadError for none or several."""
    if request.modality is not None:
        return request.modality
    options = request.options
    told = {MODALITY_OF_TYPE[kind] for kind in options.channel_types.values() if kind in MODALITY_OF_TYPE}
    units = [options.units] if isinstance(options.units, str) else list((options.units or {}).values())
    told |= {"eeg" for unit in units if plain(unit) in FACTORS["V"]}
    told |= {"meg" for unit in units if plain(unit) in FACTORS["T"] or plain(unit) in FACTORS["T/m"]}
    if has_atlas or options.t_r is not None:
        told.add("fmri")
    if len(told) == 1:
        return told.pop()
    if not told and names and np.isfinite(electrode_positions(names)[:, 0]).mean() > 0.5:
        return "eeg"
    if not told and variable.lower() in ("eeg", "meg", "bold", "fmri"):
        return "fmri" if variable.lower() == "bold" else variable.lower()
    fix = "give modality=: eeg, meg or fmri"
    raise ReadError("cannot be told from a table", file=request.path, field="modality", fix=fix)
