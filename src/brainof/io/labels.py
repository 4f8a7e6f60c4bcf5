"""Label tables of atlases, in every common layout."""

from __future__ import annotations

import csv
import re
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import ReadError

_ID_NAMES = ("index", "id", "value", "label_id", "label", "number", "no", "roi", "roi_id", "intensity", "key")
_TEXT_NAMES = ("name", "label_name", "roi_name", "region", "label", "roi", "structure", "area", "abbreviation")
_AXES = (
    ("x", "y", "z"),
    ("x_mm", "y_mm", "z_mm"),
    ("mni_x", "mni_y", "mni_z"),
    ("x.mni", "y.mni", "z.mni"),
    ("r", "a", "s"),
)


def read_labels(path: str | PathLike[str]) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """A label table: BIDS dseg.tsv, csv, FreeSurfer or ITK-SNAP colour tables, plain lists of names or of ids.

    With a header the columns go by name (index or id, name or label, x y z in millimetres); without one the first
    column of whole numbers holds the ids and the first column of text the names. A bare list of names is numbered from
    1.
    Rows of id 0 (background) are left out.

    Returns
    -------
    ids : ndarray, shape (n,), int64
    names : tuple of str
    centroids : ndarray, shape (n, 3)
        Metres; NaN where the table has none.

    Raises
    ------
    ReadError
        It cannot be read, an id occurs twice, or the rows differ in length.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"cannot be read ({error})", file=path, field="atlas.labels") from None
    rows = _rows(text)
    if not rows:
        raise ReadError("holds no label", file=path, field="atlas.labels")
    header = [cell.lower() for cell in rows[0]] if not any(_whole(cell) for cell in rows[0]) else []
    known = {*_ID_NAMES, *_TEXT_NAMES, *(axis for axes in _AXES for axis in axes)}
    if header and not known & set(header):
        header = []
    body = rows[1:] if header else rows
    width = min((len(row) for row in body), default=0)
    columns = [[row[i] for row in body] for i in range(width)]
    if not columns:
        raise ReadError("holds no label", file=path, field="atlas.labels")
    id_column = _id_column(header, columns)
    ids = np.array(
        [int(float(cell)) for cell in columns[id_column]] if id_column is not None else range(1, len(body) + 1)
    )
    name_column = _name_column(header, columns, id_column)
    names = columns[name_column] if name_column is not None else [str(i) for i in ids]
    centroids = _table_centroids(header, columns)
    keep = ids != 0
    ids, centroids = ids[keep].astype(np.int64), centroids[keep]
    if len(set(ids.tolist())) != len(ids):
        values, counts = np.unique(ids, return_counts=True)
        raise ReadError(f"label id {values[counts > 1][0]} occurs twice", file=path, field="atlas.labels")
    kept_names = [name for name, kept in zip(names, keep, strict=True) if kept]
    repeated = {name for name in kept_names if kept_names.count(name) > 1}
    return ids, tuple(f"{n}-{i}" if n in repeated else n for n, i in zip(kept_names, ids, strict=True)), centroids


def _rows(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    if not lines:
        return []
    separator = next((mark for mark in ("\t", ",", ";") if mark in lines[0]), None)
    if separator is None:
        # names may hold spaces only where they are quoted or alone on the line
        if not any(re.match(r"-?\d+\s", line) for line in lines):
            return [[line.strip("\"'")] for line in lines]
        return [next(csv.reader([re.sub(r"\s+", " ", line)], delimiter=" ")) for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]


def _whole(cell: str) -> bool:
    return bool(re.fullmatch(r"[+-]?\d+(?:\.0*)?", cell.strip()))


def _id_column(header: list[str], columns: list[list[str]]) -> int | None:
    for name in _ID_NAMES:
        if name in header and header.index(name) < len(columns) and all(map(_whole, columns[header.index(name)])):
            return header.index(name)
    if header:
        return None
    return next((i for i, column in enumerate(columns) if all(map(_whole, column))), None)


def _name_column(header: list[str], columns: list[list[str]], id_column: int | None) -> int | None:
    for name in _TEXT_NAMES:
        if name in header and header.index(name) < len(columns) and header.index(name) != id_column:
            return header.index(name)
    if header and id_column is not None:
        return None
    for i, column in enumerate(columns):
        if i != id_column and not all(_is_number(cell) for cell in column):
            return i
    return None


def _table_centroids(header: list[str], columns: list[list[str]]) -> np.ndarray:
    n = len(columns[0])
    for axes in _AXES:
        if all(axis in header and header.index(axis) < len(columns) for axis in axes):
            cells = [columns[header.index(axis)] for axis in axes]
            millimetres = [[float(cell) if _is_number(cell) else np.nan for cell in column] for column in cells]
            return np.array(millimetres, dtype=np.float64).T / 1000
    return np.full((n, 3), np.nan)


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
