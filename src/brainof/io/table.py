"""Time series in arrays and text tables (regions or electrodes) -> Recording."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..channels import MODALITY_OF_TYPE, UNITS, Channels
from ..errors import ReadError, check_known
from ..recording import Recording
from ..utils.values import listed
from . import inference
from .arrays import Arrays, open_arrays
from .atlas import Atlas
from .atlas_store import load_atlas
from .events import boundaries, events_from_vector, joined
from .names import chosen_type, drops_of_nothing, kept, kind_of_name, renamed, unique
from .options import ReadOptions, ReadRequest
from .positions import electrode_positions, position_notes
from .units import override_factors


def read_table(request: ReadRequest) -> Recording:
    """Regions or electrodes x time from an array or text table; ReadError says which option decides what is open."""
    path, options = request.path, request.options
    arrays = open_arrays(path, options.max_bytes)
    variable = _variable(arrays, options, path)
    atlas = load_atlas(options.atlas, request.root, path) if options.atlas else None
    values, names, vectors, notes = _signals(arrays, variable, atlas, request)
    modality = inference.modality_of(options.channel_names or names, variable, atlas is not None, request)
    sfreq, pauses, more = inference.sampling_rate(vectors, modality, request)
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
    return Recording(
        data=(values[rows] * factors[:, None]).astype(np.float32),
        sfreq=sfreq,
        modality=modality,
        channels=channels.take(chosen),
        entities=dict(request.entities),
        events=events,
        provenance={
            "file": str(path),
            "format": request.format,
            "variable": variable,
            "truncated": False,
            "notes": [*notes, *more],
            **({"atlas": atlas.provenance()} if atlas is not None else {}),
        },
    )


def _signals(
    arrays: Arrays, variable: str, atlas: Atlas | None, request: ReadRequest
) -> tuple[np.ndarray, tuple[str, ...] | None, dict[str, np.ndarray], list[str]]:
    """Channels x time, the channel names that the file holds, its vectors of time, rate and events, and notes."""
    options, notes = request.options, list(arrays.notes)
    loaded = arrays.load(variable)  # a text table of one row or column stays one
    values = _numeric(loaded if arrays.is_table else np.squeeze(loaded), request.path, variable)
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
    axis, of_axis = inference.time_axis(values.shape, n_channels, numeric, variable, request)
    wanted = {*inference.RATE_NAMES, *inference.TR_NAMES, *inference.TIME_NAMES}
    vectors |= {_last(name): np.ravel(arrays.load(name)) for name in lengths if _last(name).lower() in wanted}
    if (name := options.events_variable) in lengths:
        vectors[str(name)] = np.ravel(arrays.load(str(name)))
    return (values.T if axis == 0 else values), names, vectors, [*notes, *more, *of_axis]


def _last(name: str) -> str:
    """The name of an array without the groups of HDF5."""
    return name.rpartition("/")[2]


def _variable(arrays: Arrays, options: ReadOptions, path: Path) -> str:
    shapes = {name: shape for name, shape in arrays.shapes.items() if name not in arrays.texts}
    if arrays.is_table or len(shapes) == 0:
        matrices = shapes
    elif options.variable in shapes:
        return str(options.variable)
    else:
        if options.variable is not None and path.suffix.lower() != ".npy":
            check_known(options.variable, shapes, ReadError, "no array {!r}", file=path, field="variable")
        matrices = {name: shape for name, shape in shapes.items() if sum(size > 1 for size in shape) == 2}
        if len(shapes) == 1:
            matrices = shapes
    if len(matrices) == 1:
        return next(iter(matrices))
    there = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "none"
    problem = "holds several arrays" if matrices else "holds no 2-D array"
    raise ReadError(problem, file=path, field="variable", fix=f"choose one with variable=; there are: {there}")


def _numeric(values: np.ndarray, path: Path, variable: str) -> np.ndarray:
    if values.dtype.kind not in "fiub":
        raise ReadError(f"dtype {values.dtype} is not a real number", file=path, field=variable)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        shape = "x".join(map(str, values.shape))
        raise ReadError(f"shape {shape} is not 2-D", file=path, field=variable, fix="save channels x time")
    return values


def _names_in_file(
    arrays: Arrays, lengths: dict[str, int], shape: tuple[int, ...], options: ReadOptions
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Channel names that an array of text holds, as many as an axis is long; text is never a sample."""
    for name in inference.CHANNEL_NAMES:
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
    times = {name: time for name in columns if (time := inference.time_column(name)) is not None}
    apart = {name for name in columns if name in times or name == options.events_variable}
    counted = {name for name in columns if name.lower() in inference.INDEX_NAMES} if arrays.columns else set()
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
    taken |= {time: values[:, columns.index(name)] * scale for name, (time, scale) in times.items()}
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
            ids = _ids_in_names(names, options.atlas.ids, path)
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


def _ids_in_names(names: tuple[str, ...], pattern: str, path: Path) -> np.ndarray:
    """The label id that each region's name holds."""
    found = [re.fullmatch(pattern, name) for name in names]
    wrong = [name for name, match in zip(names, found, strict=True) if match is None or not match.groups()]
    if wrong:
        fix = "write a regular expression with one group, such as 'roi([0-9]+)'"
        raise ReadError(f"{wrong[0]!r} has no id by {pattern!r}", file=path, field="atlas.ids", fix=fix)
    ids = np.array([int(match[1]) for match in found if match])
    if len(np.unique(ids)) < len(ids) or ids.min() < 1:
        raise ReadError(f"ids by {pattern!r} are not different numbers from 1", file=path, field="atlas.ids")
    return ids


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
    if modality == "eeg":
        types = [chosen_type(name, options) or kind_of_name(name) or "eeg" for name in names]
    else:
        types = [chosen_type(name, options) or "mag" for name in names]
    chosen = {row for row, kind in enumerate(types) if MODALITY_OF_TYPE.get(kind) == modality}
    rows = np.array(sorted(chosen), dtype=int)
    if not len(rows):
        raise ReadError(f"no {modality} column", file=path, field="channels", fix="give channel_types=")
    notes = drops_of_nothing(names, options, types)
    if others := [f"{name} ({types[row]})" for row, name in enumerate(names) if row not in chosen]:
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
