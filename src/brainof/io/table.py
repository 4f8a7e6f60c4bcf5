"""Time series in arrays and text tables (regions or electrodes) -> Recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..channels import MODALITY_OF_TYPE, UNITS, Channels
from ..errors import ReadError, did_you_mean
from ..recording import Recording, no_events
from .arrays import Arrays, open_arrays
from .atlas import Atlas
from .atlas_store import load_atlas
from .checks import listed
from .events import events_from_vector
from .inference import TIME_NAMES, channels_by_time, modality_of, sampling_rate
from .names import chosen_type, kept, kind_of_name, renamed
from .options import ReadOptions
from .positions import default_montage, electrode_positions
from .request import ReadRequest
from .units import override_factors


def read_table(request: ReadRequest) -> Recording:
    """Read regions x time or electrodes x time from npz, npy, mat, HDF5, csv, tsv or txt.

    Raises
    ------
    ReadError
        The array, its time axis, its rate or its modality is not certain; the message says which option decides.
    """
    path, options, root = request.path, request.options, request.root
    arrays = open_arrays(path, options.max_bytes)
    variable = _variable(arrays, options, path)
    values = _numeric(np.squeeze(arrays.load(variable)), path, variable)
    columns = arrays.columns
    vectors = {name: np.ravel(arrays.load(name)) for name, shape in arrays.shapes.items() if _is_vector(shape)}
    vectors = {name: vector for name, vector in vectors.items() if name != variable}
    if columns is not None:
        values, columns, taken = _split_columns(values, columns, options)
        vectors |= taken | arrays.extra
    atlas = load_atlas(options.atlas, root, path) if options.atlas else None
    values, notes = channels_by_time(values, columns, vectors, atlas, options, path, variable)
    sfreq = sampling_rate(vectors, options, path)
    modality = modality_of(request.modality, variable, columns, options, atlas is not None, path)
    if modality == "fmri":
        channels, more = _regions(len(values), columns, atlas, options, path)
        rows, factors = np.arange(len(values)), np.ones(len(values))
    else:
        channels, rows, factors, more = _sensors(len(values), columns, modality, options, path)
    chosen = kept(channels.names, options, path)
    rows, factors = rows[chosen], factors[chosen]
    events = no_events()
    if options.events_variable is not None:
        vector = _event_vector(vectors, options.events_variable, values.shape[1], path)
        events = events_from_vector(vector, sfreq)
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


def _is_vector(shape: tuple[int, ...]) -> bool:
    return sum(size > 1 for size in shape) <= 1


def _variable(arrays: Arrays, options: ReadOptions, path: Path) -> str:
    if options.variable is not None and arrays.columns is None and len(arrays.shapes) >= 1:
        if options.variable in arrays.shapes:
            return options.variable
        if path.suffix.lower() in (".npz", ".mat", ".h5", ".hdf5"):
            fix = did_you_mean(options.variable, arrays.shapes)
            raise ReadError(f"no array {options.variable!r}", file=path, field="variable", fix=fix)
    matrices = {name: shape for name, shape in arrays.shapes.items() if sum(size > 1 for size in shape) == 2}
    if arrays.columns is not None or len(arrays.shapes) == 1:
        matrices = dict(arrays.shapes)
    if len(matrices) == 1:
        return next(iter(matrices))
    there = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in arrays.shapes.items()) or "none"
    problem = "holds several arrays" if matrices else "holds no 2-D array"
    raise ReadError(problem, file=path, field="variable", fix=f"choose one with variable; there are: {there}")


def _numeric(values: np.ndarray, path: Path, variable: str) -> np.ndarray:
    if values.dtype.kind not in "fiub":
        raise ReadError(f"dtype {values.dtype} is no real number", file=path, field=variable)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        shape = "x".join(map(str, values.shape))
        raise ReadError(f"shape {shape} is not 2-D", file=path, field=variable, fix="save channels x time")
    return values


def _split_columns(
    values: np.ndarray, columns: tuple[str, ...], options: ReadOptions
) -> tuple[np.ndarray, tuple[str, ...], dict[str, np.ndarray]]:
    """Time and event columns of a text table apart from its signals."""
    apart = {name for name in columns if name.lower() in TIME_NAMES or name == options.events_variable}
    signal = [i for i, name in enumerate(columns) if name not in apart]
    taken = {name: values[:, i] for i, name in enumerate(columns) if name in apart}
    return values[:, signal], tuple(columns[i] for i in signal), taken


def _regions(
    n: int, columns: tuple[str, ...] | None, atlas: Atlas | None, options: ReadOptions, path: Path
) -> tuple[Channels, list[str]]:
    if atlas is None:
        names = renamed(columns or tuple(f"region-{i + 1:03d}" for i in range(n)), options, path)
        note = f"no position for {n} regions: give the atlas (image or labels)"
        return Channels(tuple(names), ("roi",) * n, labels=np.arange(1, n + 1), order=np.arange(n)), [note]
    if len(atlas) != n:
        problem = f"{n} regions in the table, {len(atlas)} in {atlas.name}"
        raise ReadError(problem, file=path, field="atlas", fix="give the label table of these regions")
    missing = int(np.isnan(atlas.centroids).any(axis=1).sum())
    return atlas.channels(), [f"no position for {missing} of {n} regions"] if missing else []


def _sensors(
    n: int, columns: tuple[str, ...] | None, modality: str, options: ReadOptions, path: Path
) -> tuple[Channels, np.ndarray, np.ndarray, list[str]]:
    """The channel table, the rows it describes, their factors to SI, and notes."""
    names = renamed(columns or tuple(f"{modality.upper()}{i + 1:03d}" for i in range(n)), options, path)
    if modality == "eeg":
        types = [chosen_type(name, options) or kind_of_name(name) or "eeg" for name in names]
    else:
        types = [chosen_type(name, options) or "mag" for name in names]
    rows = np.array([row for row, kind in enumerate(types) if MODALITY_OF_TYPE.get(kind) == modality], dtype=int)
    if not len(rows):
        raise ReadError(f"no {modality} column", file=path, field="channels", fix="give channel_types")
    notes = []
    if others := [f"{name} ({types[row]})" for row, name in enumerate(names) if row not in rows]:
        notes.append(f"left out: {listed(others)}")
    kept_names, kept_types = tuple(names[row] for row in rows), tuple(types[row] for row in rows)
    factors = override_factors(options.units or {}, kept_names, kept_types, path)
    if (silent := np.flatnonzero(np.isnan(factors))).size:
        si = UNITS[kept_types[silent[0]]]
        fix = f"give units, such as {'uV' if si == 'V' else 'fT'}"
        raise ReadError("is not in the file", file=path, field=f"unit of {kept_names[silent[0]]}", fix=fix)
    positions = np.full((len(rows), 3), np.nan)
    if modality == "eeg":
        positions = electrode_positions(kept_names, options.montage, path)
        known = np.isfinite(positions).all(axis=1)
        if known.any():
            notes.append(
                f"{known.sum()} positions come from the {options.montage or default_montage()} montage by name"
            )
    unknown = [name for name, row in zip(kept_names, positions, strict=True) if np.isnan(row).any()]
    if unknown:
        notes.append(f"no position for {len(unknown)} of {len(rows)} channels: {listed(unknown)}")
    frame = "head" if len(unknown) < len(rows) else "unknown"
    return Channels(kept_names, kept_types, positions, frame=frame), rows, factors, notes


def _event_vector(vectors: dict[str, np.ndarray], name: str, n_times: int, path: Path) -> np.ndarray:
    if name not in vectors:
        fix = did_you_mean(name, vectors)
        raise ReadError(f"no vector {name!r}", file=path, field="events_variable", fix=fix)
    if len(vectors[name]) != n_times:
        raise ReadError(f"{len(vectors[name])} values for {n_times} samples", file=path, field=name)
    return vectors[name]
