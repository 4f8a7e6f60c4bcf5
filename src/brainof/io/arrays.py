"""Arrays inside npz, npy, mat (all versions), HDF5 and text files, without pickle and with sizes checked first."""

from __future__ import annotations

import csv
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from .checks import check_hdf5, check_size, damage_named
from .mat5 import check_mat5
from .names import unique
from .text_table import decoded

#: bytes; shapes and types of arrays take some hundred
_LONGEST_HEADER = 100_000

_DAMAGED = "the file is damaged or of another format"


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file by name: shapes first, values on demand."""

    shapes: dict[str, tuple[int, ...]]
    load: Callable[[str], np.ndarray]
    columns: tuple[str, ...] | None = None  # Names in the header of a text table
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()  # Names of the arrays of text
    is_table: bool = False
    notes: tuple[str, ...] = ()


def open_arrays(path: Path, max_bytes: int) -> Arrays:
    """List the arrays of a file; ReadError where it is damaged, too large once decoded, or holds Python objects."""
    if path.stat().st_size == 0:
        raise ReadError("is empty (0 bytes)", file=path, fix="copy the file again")
    suffix = path.suffix.lower()
    kind = {".npz": _npz, ".npy": _npy, ".mat": _mat, ".h5": _hdf5, ".hdf5": _hdf5}.get(suffix, _text)
    with damage_named(path):
        arrays = kind(path, max_bytes)

    def load(name: str) -> np.ndarray:
        with damage_named(path):
            return arrays.load(name)

    return replace(arrays, load=load)


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # the length of newer headers has four bytes, and numpy takes memory for it
        start = stream.tell()
        length = int.from_bytes(stream.read(4), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"header of {length} bytes")
        stream.seek(start)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _refuse_objects(dtype: np.dtype, name: str, path: Path) -> None:
    if dtype.hasobject:
        problem = "holds Python objects (pickle), which are never loaded"
        raise ReadError(problem, file=path, field=name, fix="save numbers")


def _npz(path: Path, max_bytes: int) -> Arrays:
    shapes, objects, texts = {}, set(), set()
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                shape, dtype = _header(stream)
            name = member.removesuffix(".npy")
            if dtype.hasobject:
                objects.add(name)
            if dtype.kind in "US":
                texts.add(name)
            shapes[name] = shape
            check_size(math.prod(shape) * dtype.itemsize, max_bytes, path)

    def load(name: str) -> np.ndarray:
        if name in objects:
            _refuse_objects(np.dtype(object), name, path)
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]

    there = {name: shape for name, shape in shapes.items() if name not in objects} or shapes
    notes = tuple(f"{name} holds Python objects and was not used: save it as text" for name in sorted(objects))
    return Arrays(there, load, texts=frozenset(texts), notes=notes)


def _npy(path: Path, max_bytes: int) -> Arrays:
    with path.open("rb") as stream:
        shape, dtype = _header(stream)
        data_bytes = path.stat().st_size - stream.tell()
    _refuse_objects(dtype, path.stem, path)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > data_bytes:
        raise ReadError(f"header says {n_bytes} bytes of data, the file holds {data_bytes}", file=path, fix=_DAMAGED)
    check_size(n_bytes, max_bytes, path)
    return Arrays({path.stem: shape}, lambda _: np.load(path, allow_pickle=False))


def _mat(path: Path, max_bytes: int) -> Arrays:
    import h5py

    if h5py.is_hdf5(path):  # MATLAB 7.3: HDF5 with the axes in reverse order
        return _hdf5(path, max_bytes, reverse=True)
    import scipy.io

    check_mat5(path, max_bytes)
    everything = scipy.io.whosmat(path)
    listed = [(name, shape, kind) for name, shape, kind in everything if kind != "struct"]
    structs = [name for name, _, kind in everything if kind == "struct"]
    if structs and not any(len(shape) == 2 and min(shape) > 1 for _, shape, _ in listed):
        fix = (
            "save its array by itself, as channels x time; for FieldTrip brainof.from_mne takes what "
            "mne.io.read_raw_fieldtrip or mne.read_epochs_fieldtrip reads; an EEGLAB dataset ends in .set"
        )
        raise ReadError(f"holds a struct ({structs[0]}) and no array", file=path, field="variable", fix=fix)
    for _, shape, _ in listed:
        check_size(8 * math.prod(shape), max_bytes, path)
    texts = frozenset(name for name, _, kind in listed if kind in ("char", "cell"))

    def load(name: str) -> np.ndarray:
        values = scipy.io.loadmat(path, variable_names=[name], simplify_cells=name in texts)[name]
        return np.ravel(values).astype(str) if name in texts else values

    # a matrix of characters has one name per row
    return Arrays({name: shape[:1] if kind == "char" else shape for name, shape, kind in listed}, load, texts=texts)


def _hdf5(path: Path, max_bytes: int, reverse: bool = False) -> Arrays:
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}
    texts, attributes = set(), dict[str, np.ndarray]()

    def visit(name: str, item: Any) -> None:
        attributes.update({key: np.ravel(value) for key, value in item.attrs.items() if np.size(value) == 1})
        if not isinstance(item, h5py.Dataset) or name.startswith("#"):
            return
        if h5py.check_string_dtype(item.dtype) and len(item.shape) == 1:
            texts.add(name)
            shapes[name] = item.shape
        elif item.dtype.kind in "fiub":
            check_size(math.prod(item.shape) * item.dtype.itemsize, max_bytes, path)
            shapes[name] = item.shape[::-1] if reverse else item.shape

    with h5py.File(path, "r") as stream:
        check_hdf5(stream, path)
        visit("", stream)
        stream.visititems(visit)

    def load(name: str) -> np.ndarray:
        with h5py.File(path, "r") as stream:
            values = stream[name].asstr()[()] if name in texts else np.asarray(stream[name])
        return values.T if reverse else values

    return Arrays(shapes, load, extra=attributes, texts=frozenset(texts))


def _text(path: Path, max_bytes: int) -> Arrays:
    import pandas as pd

    check_size(path.stat().st_size, max_bytes, path, "the text")
    text, _ = decoded(path.read_bytes())
    if "\0" in text:
        raise ReadError("holds bytes that are not text", file=path, fix=_DAMAGED)
    text, extra = _without_remarks(text)
    lines = [line for line in text[:100_000].splitlines() if line.strip()][:5]
    if not lines:
        raise ReadError("holds no line with values", file=path)
    separator = _separator(lines[0])
    cells = _cells(lines[0], separator)
    row = _cells(lines[1], separator) if len(lines) > 1 else cells
    if len(row) > len(cells):  # a separator at the end of each row, or a column of row names (R)
        cells = [*cells, ""] if not row[-1] else ["", *cells]
    # pandas names columns 0, 1, ... where they had no name, and regions are named by their ids
    numbered = [cell for cell in cells if cell]
    is_numbered = numbered == [str(i) for i in range(len(numbered))] and (not cells[0] or len(cells) > 2)
    is_numbered |= all(map(str.isdigit, numbered)) and len({*numbered}) == len(numbered) and "." in "".join(row)
    has_header = is_numbered or any(cell and not _is_number(cell) for cell in cells)
    names, notes = [cell or f"Unnamed: {i}" for i, cell in enumerate(cells)], list[str]()
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        notes.append(f"channel names that occur twice were numbered: {', '.join(twice)}")
    table = pd.read_csv(
        StringIO(text),
        sep=separator,
        header=0 if has_header else None,
        names=unique(names) if has_header else None,
        skipinitialspace=True,
        na_values=["n/a"],
        decimal="," if separator != "," and any(re.search(r"\d,\d", line) for line in lines) else ".",
        engine="c",
    )
    table = table.dropna(axis="columns", how="all")  # a separator at the end of each line
    numbers = table.select_dtypes("number")
    texts = extra | {str(name): table[name].to_numpy() for name in table.columns if name not in numbers.columns}
    if not has_header and len(numbers.columns) < len(table.columns):
        column = next(name for name in table.columns if name not in numbers.columns)
        raise ReadError("a column is not numeric", file=path, field=f"column {column}", fix="remove the text")
    columns, values = tuple(map(str, numbers.columns)) if has_header else None, numbers.to_numpy()
    named_rows = len(table.columns) and table.columns[1:].equals(numbers.columns)
    if numbered[:1] == ["0"] and is_numbered and named_rows:  # a channel per row
        columns, values, texts = tuple(map(str, table.iloc[:, 0])), values.T, extra
    return Arrays(
        {path.stem: values.shape}, lambda _: values, columns=columns, extra=texts, is_table=True, notes=tuple(notes)
    )


def _cells(line: str, separator: str) -> list[str]:
    cells = next(csv.reader([line.strip("\r\n")], delimiter=separator)) if len(separator) == 1 else line.split()
    return [cell.strip() for cell in cells]


def _without_remarks(text: str) -> tuple[str, dict[str, np.ndarray]]:
    """The text without the lines of `%` or `#` that it begins with, and the rate that one of them tells (OpenBCI)."""
    lines = text.splitlines()
    n = next((i for i, line in enumerate(lines) if line.strip() and line.lstrip()[0] not in "%#"), 0)
    if not n:
        return text, {}
    rates = re.findall(r"^\s*[%#]\s*sampl\w* rate\s*[=:]\s*([\d.]+)", text, flags=re.IGNORECASE | re.MULTILINE)
    names, separator = lines[n - 1].lstrip("%# \t"), _separator(lines[n])
    widths = {len(re.split(separator, line)) for line in (names, lines[n].strip())}
    # the last of them are the names of the columns where it has as many words as the line that follows
    is_header = len(widths) == 1 and not _is_number(lines[n - 1])
    text = "\n".join([*([names] if is_header else []), *lines[n:]])
    return text, {"sampling_rate": np.array([float(rates[0])])} if rates else {}


def _separator(line: str) -> str:
    return next((separator for separator in "\t,;" if separator in line), r"\s+")


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().strip('"'))
    except ValueError:
        return cell.strip().lower() in ("n/a", "nan", "")
    return True
