"""Tables and arrays of a dataset: labels, events, one row per volume, maps. Read once; errors name the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from ..channels import Channels
from ..errors import LabelError, check_known
from ..io.arrays import open_arrays
from ..io.options import DEFAULT_MAX_BYTES
from ..io.text_table import read_text_table
from ..recording import Recording
from .recipe import Patterns

#: texts of a cell, in lower case, that mean "not known"
UNKNOWN = ("", "n/a", "na", "nan")


def read_table(
    path: Path, columns: Sequence[str] | None = None, unknown: tuple[str, ...] = UNKNOWN, may_be_empty: bool = False
) -> pd.DataFrame:
    """A csv, tsv or white-space table (by its suffix) as text; `unknown` values, in lower case, are empty text.

    `columns` names those of a table without a header line. LabelError: it is missing, unreadable or empty.
    """
    try:
        state = path.stat()
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise LabelError(f"table {why}", file=path, fix="restore it, or correct its path in the recipe") from None
    names = None if columns is None else tuple(columns)
    table = _read(path, (state.st_mtime_ns, state.st_size), names, unknown)
    if table.empty and not may_be_empty:
        raise LabelError("table has no rows", file=path)
    return table.copy(deep=False)


@lru_cache(maxsize=64)  # by its state on disk: one recording after the other asks for the same table
def _read(
    path: Path, _state: tuple[int, int], columns: tuple[str, ...] | None, unknown: tuple[str, ...]
) -> pd.DataFrame:
    table, _ = read_text_table(path, columns)
    if table.empty:
        return table
    # objects, since rows are looked up recording by recording, each time in a whole column
    return table.mask(table.apply(lambda column: column.str.lower().isin(unknown)), "").astype(object)


def named_array(path: Path, name: str, field: str) -> np.ndarray:
    """An array of an npz, mat or HDF5 file; LabelError where the file or the array is missing."""
    if not path.is_file():
        raise LabelError("file is missing", file=path, field=field, fix="restore it, or correct its path in the recipe")
    return _array(path, path.stat().st_mtime_ns, name, field)


@lru_cache(maxsize=16)  # one window after the other asks for the same array
def _array(path: Path, _stamp: int, name: str, field: str) -> np.ndarray:
    arrays = open_arrays(path, DEFAULT_MAX_BYTES)
    check_known(name, arrays.shapes, LabelError, "no array {!r}", file=path, field=field)
    return arrays.load(name)


def scalar(path: Path, name: str, field: str) -> float:
    """One number; LabelError where the array holds several."""
    values = np.ravel(named_array(path, name, field))
    if len(values) != 1:
        raise LabelError(f"{name!r} holds {len(values)} values, not one", file=path, field=field)
    return float(values[0])


def read_patterns(path: Path, patterns: Patterns, entities: Mapping[str, str]) -> list[Recording]:
    """Maps without time: a recording per subject, see `Patterns`; LabelError where the sizes of arrays do not agree."""
    data, subjects, conditions, regions = (
        named_array(path, getattr(patterns, name), f"patterns.{name}")
        for name in ("variable", "subjects", "conditions", "regions")
    )
    if data.shape != (expected := (len(subjects), len(conditions), len(regions))):
        text = f"{data.shape} is not subjects x conditions x regions {expected}"
        raise LabelError(text, file=path, field=f"patterns.{patterns.variable}")
    n, duration = len(regions), patterns.n_times * patterns.t_r
    channels = Channels(tuple(map(str, regions)), ("roi",) * n, labels=np.arange(1, n + 1), order=np.arange(n))
    onsets = np.arange(len(conditions)) * duration
    events = pd.DataFrame({"onset": onsets, "duration": duration, "trial_type": conditions.astype(str)})
    return [
        Recording(
            data=np.repeat(maps.T, patterns.n_times, axis=1).astype(np.float32),
            sfreq=1 / patterns.t_r,
            modality="fmri",
            channels=channels,
            entities={**entities, "subject": str(subject)},
            events=events.copy(),
            provenance={"file": str(path), "part": f"sub-{subject}", "notes": ["maps without time, held as blocks"]},
        )
        for subject, maps in zip(subjects, data, strict=True)
    ]
