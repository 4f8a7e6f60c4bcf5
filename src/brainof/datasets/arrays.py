"""Single arrays of a file beside (or of) a recording: signals and scalars that a recipe names."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import LabelError, did_you_mean
from ..io.arrays import open_arrays
from ..io.options import DEFAULT_MAX_BYTES


def named_array(path: Path, name: str, field: str) -> np.ndarray:
    """An array of an npz, mat or HDF5 file.

    Raises
    ------
    LabelError
        The file is missing, or has no array of that name.
    """
    if not path.is_file():
        raise LabelError("file is missing", file=path, field=field, fix="restore it, or correct its path in the recipe")
    return _read(path, path.stat().st_mtime_ns, name, field)


@lru_cache(maxsize=16)  # one window after the other asks for the same array
def _read(path: Path, _stamp: int, name: str, field: str) -> np.ndarray:
    arrays = open_arrays(path, DEFAULT_MAX_BYTES)
    if name not in arrays.shapes:
        raise LabelError(f"no array {name!r}", file=path, field=field, fix=did_you_mean(name, arrays.shapes))
    return arrays.load(name)


def vector(path: Path, name: str, field: str) -> np.ndarray:
    """One value per step, float64."""
    return np.ravel(named_array(path, name, field)).astype(np.float64)


def scalar(path: Path, name: str, field: str) -> float:
    """One number.

    Raises
    ------
    LabelError
        The array holds several.
    """
    values = np.ravel(named_array(path, name, field))
    if len(values) != 1:
        raise LabelError(f"{name!r} holds {len(values)} values, not one", file=path, field=field)
    return float(values[0])
