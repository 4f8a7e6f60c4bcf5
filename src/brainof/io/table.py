"""Time series in arrays and text tables (regions or electrodes) -> Recording.

A bare array does not say its time axis, rate, pauses and modality: names decide before sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..channels import MODALITY_OF_TYPE, UNITS, Channels
from ..errors import ReadError, check_known
from ..recording import Recording
from ..utils.values import listed
from .arrays import Arrays, open_arrays
from .atlas import Atlas, load_atlas
from .events import boundaries, events_from_vector, joined
from .names import chosen_type, drops_of_nothing, kept, kind_of_name, renamed, unique
from .nifti_header import MAX_TR, MIN_TR
from .options import ReadOptions, ReadRequest
from .positions import electrode_positions, position_notes
from .units import FACTORS, override_factors, plain

#: names under which files keep their rate (Hz), their repetition time (s), the time of each sample (s), channel names
RATE_NAMES = ("sfreq", "fs", "srate", "sampling_rate", "sampling_frequency", "samplingrate", "sample_rate")
TR_NAMES = ("tr", "t_r", "repetition_time", "repetitiontime")
TIME_NAMES = ("t", "time", "times", "timestamp", "timestamps")
AXIS_NAMES = ("ch_names", "channel_names", "channels", "chan_names", "electrodes", "labels", "names", "regions", "rois")
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


def read_table(request: ReadRequest) -> Recording:
    """Regions or electrodes x time from an array or text table; ReadError says which option decides what is open."""
    path, options = request.path, request.options
    arrays = open_arrays(path, options.max_bytes)
    variable = _variable(arrays, options, path)
    atlas = load_atlas(options.atlas, request.root, path) if options.atlas else None
    values, names, vectors, notes = _signals(arrays, variable, atlas, request)
    modality = _modality_of(options.channel_names or names, variable, atlas is not None, request)
    sfreq, pauses, more = _sampling_rate(vectors, modality, request)
    notes += more
    if modality == "fmri":
        channels, rows, more = _regions(len(values), names, atlas, options, path)
        more += drops_of_nothing(channels.names, options, channels.types)
        factors = np.ones(len(values))
    else:
        channels, rows, factors, more = _sensors(len(values), names, modality, options, path)
    chosen = kept(channels.names, options, path, channels.types)
    rows, factors = rows[chosen], factors[chosen]
    events = boundaries(pauses, sfreq)
    if options.events_variable is not None:
        name, n_times = options.events_variable, values.shape[1]
        check_known(name, vectors, ReadError, "no vector {!r}", file=path, field="events_variable")
        if len(vectors[name]) != n_times:
            raise ReadError(f"{len(vectors[name])} values for {n_times} samples", file=path, field=name)
        events = joined(events_from_vector(vectors[name], sfreq), events)
    provenance = {"file": str(path), "format": request.format, "variable": variable, "truncated": False}
    provenance |= {"notes": [*notes, *more]} | ({"atlas": atlas.provenance()} if atlas is not None else {})
    return Recording(
        data=(values[rows] * factors[:, None]).astype(np.float32),
        sfreq=sfreq,
        modality=modality,
        channels=channels.take(chosen),
        entities=dict(request.entities),
        events=events,
        provenance=provenance,
    )


def _signals(
    arrays: Arrays, variable: str, atlas: Atlas | None, request: ReadRequest
) -> tuple[np.ndarray, tuple[str, ...] | None, dict[str, np.ndarray], list[str]]:
    """Channels x time, the channel names that the file holds, its vectors of time, rate and events, and notes."""
    options, notes = request.options, list(arrays.notes)
    loaded = arrays.load(variable)  # a text table of one row or column stays one
    values = loaded if arrays.is_table else np.squeeze(loaded)
    if values.dtype.kind not in "fiub":
        raise ReadError(f"dtype {values.dtype} is not a real number", file=request.path, field=variable)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        shape = "x".join(map(str, values.shape))
        raise ReadError(f"shape {shape} is not 2-D", file=request.path, field=variable, fix="save channels x time")
    vectors: dict[str, np.ndarray] = dict(arrays.extra)
    names: tuple[str, ...] | None = None
    if arrays.is_table:
        values, names, vectors, more = _split_columns(values, arrays, options, request.path)
        notes += more
        if arrays.columns is not None:
            return values.T, names, vectors, notes
    vectors_there = {name: shape for name, shape in arrays.shapes.items() if sum(size > 1 for size in shape) <= 1}
    lengths = {name: math.prod(shape) for name, shape in vectors_there.items()}
    lengths.pop(variable, None)
    names, more = _names_in_file(arrays, lengths, values.shape, options)
    told = options.channel_names or names or atlas
    numeric = {_last(name): n for name, n in lengths.items() if name not in arrays.texts}
    n_channels = len(told) if told is not None else None
    axis, of_axis = _time_axis(values.shape, n_channels, numeric, variable, request)
    wanted = {*RATE_NAMES, *TR_NAMES, *TIME_NAMES}
    vectors |= {_last(name): np.ravel(arrays.load(name)) for name in lengths if _last(name).lower() in wanted}
    if (name := options.events_variable) in lengths:
        vectors[str(name)] = np.ravel(arrays.load(str(name)))
    return (values.T if axis == 0 else values), names, vectors, [*notes, *more, *of_axis]


def _last(name: str) -> str:
    """The name of an array without the groups of HDF5."""
    return name.rpartition("/")[2]


def _variable(arrays: Arrays, options: ReadOptions, path: Path) -> str:
    shapes = {name: shape for name, shape in arrays.shapes.items() if name not in arrays.texts}
    matrices = shapes
    if shapes and not arrays.is_table:
        if options.variable in shapes:
            return str(options.variable)
        if options.variable is not None and path.suffix.lower() != ".npy":
            check_known(options.variable, shapes, ReadError, "no array {!r}", file=path, field="variable")
        if len(shapes) > 1:
            matrices = {name: shape for name, shape in shapes.items() if sum(size > 1 for size in shape) == 2}
    if len(matrices) == 1:
        return next(iter(matrices))
    there = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "none"
    problem = "holds several arrays" if matrices else "holds no 2-D array"
    raise ReadError(problem, file=path, field="variable", fix=f"choose one with variable=; there are: {there}")


def _names_in_file(
    arrays: Arrays, lengths: dict[str, int], shape: tuple[int, ...], options: ReadOptions
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Channel names that an array of text holds, as many as an axis is long; text is never a sample."""
    for name in AXIS_NAMES:
        found = next((text for text in arrays.texts if _last(text).lower() == name and lengths.get(text, 0) > 1), None)
        if found is None or found == options.events_variable:
            continue
        texts = np.ravel(arrays.load(found))
        names = [(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)).strip() for text in texts]
        if len(names) in shape:
            twice = [] if len(set(names)) == len(names) else [f"names of {found} that occur twice were numbered"]
            return tuple(unique(names)), twice
        return None, [f"{found} holds {len(names)} names for an array of {shape[0]} x {shape[1]}: not used"]
    return None, []


def _split_columns(
    values: np.ndarray, arrays: Arrays, options: ReadOptions, path: Path
) -> tuple[np.ndarray, tuple[str, ...] | None, dict[str, np.ndarray], list[str]]:
    """The signals of a text table, their names, its time and event columns, and a note on columns that count rows."""
    columns = arrays.columns or tuple(f"column {i + 1}" for i in range(values.shape[1]))
    times = {name: found for name in columns if (found := _TIME.fullmatch(name.strip()))}
    apart = {name for name in columns if name in times or name == options.events_variable}
    counted = {name for name in columns if name.lower() in INDEX_NAMES} if arrays.columns else set()
    # no signal grows by one at every sample, nor a first column without a name (the index of pandas) at all
    if len(values) > 2 and columns:  # all of them may hold text
        steps = np.diff(values[:, [0, -1]], axis=0)
        counts = {columns[i] for i in (0, -1) if (steps[:, i] == 1).all()} - apart
        counted |= {name for name in counts if np.isnan(electrode_positions([name])).all()}
        counted |= {columns[0]} if columns[0].startswith("Unnamed: ") and (steps[:, 0] > 0).all() else set()
    signal = [i for i, name in enumerate(columns) if name not in apart | counted]
    if not signal:
        raise ReadError("holds no signal column", file=path, field="columns", fix="check the separator")
    taken = {name: values[:, i] for i, name in enumerate(columns) if name == options.events_variable}
    for name, found in times.items():
        scale = _SECONDS.get((found[2] or "s").lower()[0], 1.0)
        taken[found[1].lower()] = values[:, columns.index(name)] * scale
    notes = [f"left out: {', '.join(sorted(counted))} (counts the rows)"] if counted else []
    names = tuple(columns[i] for i in signal) if arrays.columns else None
    return values[:, signal], names, taken | arrays.extra, notes


def _regions(
    n: int, names: tuple[str, ...] | None, atlas: Atlas | None, options: ReadOptions, path: Path
) -> tuple[Channels, np.ndarray, list[str]]:
    """The channel table, the row of each of its regions, and notes; columns with the names of the atlas go by name."""
    rows = np.arange(n)
    if atlas is None:
        names = tuple(renamed(names or tuple(f"region-{i + 1:03d}" for i in range(n)), options, path))
        ids = rows + 1
        if options.atlas is not None and options.atlas.ids is not None:
            pattern = options.atlas.ids
            found = [re.fullmatch(pattern, name) for name in names]
            wrong = [name for name, match in zip(names, found, strict=True) if match is None or not match.groups()]
            if wrong:
                fix = "write a regular expression with one group, such as 'roi([0-9]+)'"
                raise ReadError(f"{wrong[0]!r} has no id by {pattern!r}", file=path, field="atlas.ids", fix=fix)
            ids = np.array([int(match[1]) for match in found if match])
            if len(np.unique(ids)) < len(ids) or ids.min() < 1:
                raise ReadError(f"ids by {pattern!r} are not different numbers from 1", file=path, field="atlas.ids")
        note = f"no position for {n} regions: give the atlas (image or labels)"
        known = options.atlas.name if options.atlas else None  # a recipe may know the regions and not their places
        return Channels(names, ("roi",) * n, labels=ids, order=ids - 1, atlas=known), rows, [note]
    if len(atlas) != n:
        problem = f"{n} regions in the table, {len(atlas)} in {atlas.name}"
        fix = "give the label table of these regions with atlas.labels="
        raise ReadError(problem, file=path, field="atlas", fix=fix)
    notes = []
    order = _order_by_name(names, atlas, path)
    if order is not None and order != list(range(n)):
        rows = np.array(order)
        notes.append(f"regions were brought into the order of {atlas.name} by name")
    missing = int(np.isnan(atlas.centroids).any(axis=1).sum())
    return atlas.channels(), rows, notes + ([f"no position for {missing} of {n} regions"] if missing else [])


def _order_by_name(names: tuple[str, ...] | None, atlas: Atlas, path: Path) -> list[int] | None:
    """The column of each region, by name or id; None where no column is named after one."""
    for own in ([name.lower() for name in atlas.names], list(map(str, atlas.ids.tolist()))):
        columns = {name.strip().lower(): row for row, name in enumerate(names or ())}
        if set(columns) == set(own):
            return [columns[name] for name in own]
    known = {name.lower() for name in atlas.names}
    unknown = [name for name in names or () if name.strip().lower() not in known]
    if names and len(unknown) < len(names):
        problem = f"columns are not regions of {atlas.name}: {listed(unknown, 4)}"
        raise ReadError(problem, file=path, field="columns", fix="correct their names, or give channel_names=")
    return None


def _sensors(
    n: int, columns: tuple[str, ...] | None, modality: str, options: ReadOptions, path: Path
) -> tuple[Channels, np.ndarray, np.ndarray, list[str]]:
    """The channel table, the rows it describes, their factors to SI, and notes."""
    names = renamed(columns or tuple(f"{modality.upper()}{i + 1:03d}" for i in range(n)), options, path)
    usual = {name: kind_of_name(name) or "eeg" if modality == "eeg" else "mag" for name in names}
    types = [chosen_type(name, options) or usual[name] for name in names]
    chosen = [MODALITY_OF_TYPE.get(kind) == modality for kind in types]
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise ReadError(f"no {modality} column", file=path, field="channels", fix="give channel_types=")
    notes = drops_of_nothing(names, options, types)
    if others := [
        f"{name} ({kind})" for name, kind, is_chosen in zip(names, types, chosen, strict=True) if not is_chosen
    ]:
        notes.append(f"left out: {listed(others)}")
    kept_names, kept_types = tuple(names[row] for row in rows), tuple(types[row] for row in rows)
    factors = override_factors(options.units or {}, kept_names, kept_types, path)
    if (silent := np.flatnonzero(np.isnan(factors))).size:
        si = UNITS[kept_types[silent[0]]]
        fix = f"give units='{'uV' if si == 'V' else 'fT'}', or what it is"
        raise ReadError("is not in the file", file=path, field=f"unit of {kept_names[silent[0]]}", fix=fix)
    montage = options.montage if modality == "eeg" else "none"
    positions = electrode_positions(kept_names, montage, path)
    n_known = int(np.isfinite(positions).all(axis=1).sum())
    notes += position_notes(kept_names, positions, n_known, montage)
    frame = "head" if n_known else "unknown"
    return Channels(kept_names, kept_types, positions, frame=frame), rows, factors, notes


def _time_axis(
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


def _sampling_rate(
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


def _modality_of(names: tuple[str, ...] | None, variable: str, has_atlas: bool, request: ReadRequest) -> str:
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
