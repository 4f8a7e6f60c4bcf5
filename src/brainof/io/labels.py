"""Label tables of atlases in every common layout; nilearn reads only those it wrote itself."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..errors import ReadError
from ..paths import user_path
from .text_table import decoded

#: columns that hold ids and nothing else, then those that may hold ids or names
_ID_NAMES = ("index", "id", "label_id", "roi_id", "value", "label", "number", "no", "roi", "intensity", "key")
_ONLY_IDS = _ID_NAMES[:4]
_TEXT_NAMES = ("name", "label_name", "roi_name", "region", "label", "roi", "structure", "area", "abbreviation")
_AXES = [names.split() for names in ("x y z", "x_mm y_mm z_mm", "mni_x mni_y mni_z", "x.mni y.mni z.mni", "r a s")]
#: what label 0 is called
_BACKGROUND = ("background", "unknown", "???", "unlabeled", "unlabelled", "clear label")


def read_labels(
    path: str | PathLike[str], in_image: np.ndarray | None = None
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Ids (int64), names and centroids (n, 3; metres, NaN where unknown) of a label table.

    BIDS dseg.tsv, csv, FreeSurfer, ITK-SNAP or AAL tables, FSL and SPM xml, plain lists of names. With a header the
    columns go by name (index or id, name or label, x y z in millimetres); without one the first column of whole numbers
    holds the ids and the nearest column of text the names. A bare list of names is numbered from 1, or from 0 where it
    begins with the background. Rows of id 0 are left out.

    Raises ReadError: it cannot be read, an id is no whole number or occurs twice, or a list without ids does not end at
    the largest of the labels `in_image`.
    """
    path = user_path(path, ReadError)
    rows = _rows(path)
    known = {*_ID_NAMES, *_TEXT_NAMES}
    header = [cell.lower() for cell in rows[0]] if rows and not any(map(_is_id, rows[0])) else []
    header = header if known & set(header) else []
    body = rows[1:] if header else rows
    if not body:
        raise ReadError("holds no labels", file=path, field="atlas.labels")
    width = max(len(header), *(len(row) for row in body))
    columns = [[row[i] if i < len(row) else "" for row in body] for i in range(width)]
    id_column = _id_column(header, columns)
    name_column = _name_column(header, columns, id_column)
    if id_column is not None:
        cells = columns[id_column]
        if odd := next((row for row, cell in enumerate(cells, start=1) if not _is_id(cell)), None):
            problem = f"{cells[odd - 1][:40]!r} in row {odd} is not a label id"
            fix = "give each region a whole number, or remove the row"
            raise ReadError(problem, file=path, field="atlas.labels", fix=fix)
        ids = np.array([int(cell.split(".")[0]) for cell in cells], dtype=np.int64)
        _refuse_shifted(ids, columns[name_column] if name_column is not None else [], in_image, path)
    else:
        first = columns[name_column or 0][0].lower()
        ids = np.arange(len(body)) + (first not in _BACKGROUND)
        if in_image is not None and len(in_image) and ids.max() != (last := np.max(in_image)):
            problem = f"{len(body)} names without ids do not fit the labels of the image, which end at {last}"
            raise ReadError(problem, file=path, field="atlas.labels", fix="give a table of label ids and names")
    names = columns[name_column] if name_column is not None else [""] * len(ids)
    keep = ids != 0
    centroids = np.full((len(body), 3), np.nan)
    if axes := next((axes for axes in _AXES if set(axes) <= set(header)), None):
        places = [columns[header.index(axis)] for axis in axes]
        millimetres = [[float(cell) if _is_number(cell) else np.nan for cell in column] for column in places]
        centroids = np.array(millimetres, dtype=np.float64).T / 1000
    kept = [(name or str(number), number) for name, number in zip(names, ids.tolist(), strict=True) if number]
    if twice := [number for number, count in Counter(number for _, number in kept).items() if count > 1]:
        raise ReadError(f"label id {twice[0]} occurs twice", file=path, field="atlas.labels")
    return ids[keep], distinct([name for name, _ in kept], ids[keep]), centroids[keep]


def distinct(names: Sequence[str], ids: Iterable[int]) -> tuple[str, ...]:
    """Names of regions; those that occur twice with their ids."""
    counts = Counter(names)
    return tuple(f"{name}-{i}" if counts[name] > 1 else name for name, i in zip(names, ids, strict=True))


def _refuse_shifted(ids: np.ndarray, names: list[str], in_image: np.ndarray | None, path: Path) -> None:
    """Refuse ids that are not those of the image: none of them, or counted from 0 where the image counts from 1."""
    if in_image is None or not len(in_image):
        return
    there, absent = np.isin(ids[ids != 0], in_image), np.setdiff1d(in_image[in_image != 0], ids)
    zeros = [name for name, number in zip(names, ids, strict=False) if number == 0]
    from_zero = [name for name in zeros if name.lower() not in _BACKGROUND]
    if there.any() and not (len(absent) and from_zero):
        return
    problem = f"label {absent[0]} of the image is not among its ids, {ids.min()} to {ids.max()}"
    fix = "number the regions as the image does" + (f": {from_zero[0]!r} is none of id 0" if from_zero else "")
    raise ReadError(problem, file=path, field="atlas.labels", fix=fix)


def _rows(path: Path) -> list[list[str]]:
    """The cells of each line that is neither blank nor a comment."""
    try:
        if path.suffix.lower() == ".xml":
            return _xml_rows(ElementTree.parse(path).getroot())
        text, _ = decoded(path.read_bytes())
    except (OSError, ElementTree.ParseError) as error:
        raise ReadError(f"cannot be read ({error})", file=path, field="atlas.labels", fix="save it as UTF-8") from None
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "//"))]
    separator = next((mark for mark in ("\t", ",", ";") if lines and mark in lines[0]), None)
    if separator is not None:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    lines = [line.strip() for line in lines]
    last = [re.fullmatch(r"(.*\D)\s+(\d+)", line) for line in lines]
    if all(last) and [int(found[2]) for found in last if found] != list(range(1, len(last) + 1)):
        return [[found[2], found[1].strip()] for found in last if found]  # ids behind the names, in another order
    if not any(re.match(r"-?\d+\s", line) for line in lines):
        return [[line.strip("\"'")] for line in lines]  # names, which may hold spaces
    rows = [next(csv.reader([re.sub(r"\s+", " ", line)], delimiter=" ")) for line in lines]
    return rows if len(set(map(len, rows))) == 1 else [_joined(row) for row in rows]


def _joined(row: list[str]) -> list[str]:
    """Words that follow each other as one cell: `1 Left Thalamus 0 0 0` names one region."""
    groups = groupby(row, key=_is_number)
    return [cell for is_number, cells in groups for cell in (cells if is_number else [" ".join(cells)])]


def _xml_rows(tree: ElementTree.Element) -> list[list[str]]:
    """The labels of an SPM or FSL atlas; FSL counts the maps of a probabilistic atlas from 0, and its labels from 1."""
    shift = int((tree.findtext("header/type") or "").lower().startswith("prob"))
    rows = [["index", "name"]]
    for label in tree.iter("label"):
        index, name = label.get("index"), (label.text or "").strip()
        if index is None:
            rows.append([(label.findtext("index") or "").strip(), (label.findtext("name") or "").strip()])
        else:
            rows.append([str(int(index) + shift) if _is_id(index) else index, name])
    return rows


def _is_id(cell: str) -> bool:
    """A whole number of at most 18 digits, which fits 64 bits."""
    return bool(re.fullmatch(r"[+-]?[0-9]{1,18}(?:\.0*)?", cell.strip()))


def _id_column(header: list[str], columns: list[list[str]]) -> int | None:
    for name in _ID_NAMES:
        if name in header and (name in _ONLY_IDS or any(map(_is_id, columns[header.index(name)]))):
            return header.index(name)
    if header:
        return None
    # one cell that is no id must not make the column a column of names: it is refused
    return next((i for i, cells in enumerate(columns) if 2 * sum(map(_is_id, cells)) >= len(cells)), None)


def _name_column(header: list[str], columns: list[list[str]], id_column: int | None) -> int | None:
    for name in _TEXT_NAMES:
        if name in header and header.index(name) != id_column:
            return header.index(name)
    if header and id_column is not None:
        return None
    others = [(i, cells) for i, cells in enumerate(columns) if i != id_column]
    text = [i for i, cells in others if any(cell and not _is_number(cell) for cell in cells)]
    return min(text, key=lambda i: abs(i - (id_column or 0)), default=None)


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
