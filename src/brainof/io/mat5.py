"""MAT files of version 5, walked before scipy reads them: of 4,000 spoiled ones, 112 crashed or hung scipy's reader.

Layout: MAT-File Format, MathWorks, version 5. The walk holds every element against its parent's length and the counts
that its dimensions announce; values are not decoded.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import ReadError
from .checks import check_size

#: data type -> bytes per value
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_MATRIX, _COMPRESSED, _TEXT = 14, 15, (1, 2, 16)
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_DEEPEST = 40


class _Damaged(Exception):
    pass


class _Element(NamedTuple):
    kind: int
    start: int
    size: int


def check_mat5(path: Path, max_bytes: int) -> None:
    """Walk a MAT file of version 5 (others pass); ReadError where an element does not fit, or is too large unpacked."""
    with path.open("rb") as stream:
        head = stream.read(128)
        if not head.startswith(b"MATLAB 5.0"):
            if head[:1] == b"M":  # a damaged first line would send scipy to its reader of version 4
                raise ReadError("header is damaged", file=path, field="MAT header", fix="copy the file again")
            return
        check_size(path.stat().st_size, max_bytes, path, "the file")
        content = stream.read()
    if len(head) < 128 or head[126:128] not in (b"IM", b"MI"):
        raise ReadError("header is damaged", file=path, field="MAT header", fix="copy the file again")
    order = "<" if head[126:128] == b"IM" else ">"
    left = max_bytes
    try:
        place = 0
        while place < len(content):
            kind, size = struct.unpack_from(order + "II", content, place) if place + 8 <= len(content) else (0, 0)
            if kind not in (_MATRIX, _COMPRESSED) or place + 8 + size > len(content):
                raise _Damaged(f"element at byte {128 + place}")
            body = content[place + 8 : place + 8 + size]
            if kind == _COMPRESSED:
                body = _inflated(body, left)
                left -= len(body)
                element = next(_elements(body, 0, len(body), order), None)
                if element is None or element.kind != _MATRIX:
                    raise _Damaged(f"compressed element at byte {128 + place}")
                _matrix(body, element, order, 0)
            else:
                _matrix(body, _Element(_MATRIX, 0, size), order, 0)
            place += 8 + size
    except _Damaged as error:
        raise ReadError(f"cannot be read (damaged {error})", file=path, fix="the file is cut or damaged") from None


def _inflated(body: bytes, most: int) -> bytes:
    try:
        machine = zlib.decompressobj()
        out = machine.decompress(body, most + 1)
    except zlib.error as error:
        raise _Damaged(f"compression: {error}") from None
    if len(out) > most or not machine.eof:
        raise _Damaged("compressed element")
    return out


def _elements(content: bytes, place: int, end: int, order: str) -> Iterator[_Element]:
    """The elements between two places; small ones hold their length in the upper half of the type."""
    while place < end:
        if place + 8 > end:
            raise _Damaged("element")
        kind, size = struct.unpack_from(order + "II", content, place)
        if kind >> 16:
            kind, size, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
            if size > 4:
                raise _Damaged("small element")
        else:
            start, after = place + 8, place + 8 + size + -size % 8
        if start + size > end or (kind not in _BYTES and kind != _MATRIX):
            raise _Damaged("element")
        yield _Element(kind, start, size)
        place = after


def _integers(content: bytes, element: _Element, order: str, field: str) -> tuple[int, ...]:
    if element.kind not in (5, 6) or element.size % 4:
        raise _Damaged(field)
    return struct.unpack_from(f"{order}{element.size // 4}i", content, element.start)


def _matrix(content: bytes, matrix: _Element, order: str, depth: int) -> None:
    """Every element lies inside the matrix, and there are as many values as its dimensions announce."""
    if matrix.size == 0:
        return  # an empty array
    if depth > _DEEPEST:
        raise _Damaged("nesting")
    parts = list(_elements(content, matrix.start, matrix.start + matrix.size, order))
    for part in parts:
        if part.kind == _MATRIX:
            _matrix(content, part, order, depth + 1)
    flags = _integers(content, parts[0], order, "array flags")
    kind = flags[0] & 0xFF if len(flags) == 2 else 0
    if not 1 <= kind <= _OPAQUE or len(parts) < 3:
        raise _Damaged("array flags")
    if kind == _OPAQUE:  # a MATLAB object: its name, two more names, and one array
        if [part.kind == _MATRIX for part in parts[1:5]] != [False, False, False, True]:
            raise _Damaged("MATLAB object")
        return
    sizes = _integers(content, parts[1], order, "dimensions")
    if not 2 <= len(sizes) <= 32 or min(sizes) < 0 or parts[2].kind not in _TEXT:
        raise _Damaged("dimensions")
    count, values = math.prod(sizes), parts[3:]
    if kind in (_STRUCT, _OBJECT):
        values = values[1:] if kind == _OBJECT else values
        count, values = count * _n_fields(content, values[:2], order), values[2:]
    if kind in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
        count = 1 if kind == _FUNCTION else count
        if len(values) < count or any(value.kind != _MATRIX for value in values[:count]):
            raise _Damaged("cell")
    elif kind == _SPARSE:
        starts = _integers(content, values[1], order, "sparse array") if len(values) > 2 else ()
        rows = _integers(content, values[0], order, "sparse array") if starts else ()
        if len(starts) != sizes[1] + 1 or list(starts) != sorted(starts) or starts[0] != 0 or starts[-1] > len(rows):
            raise _Damaged("sparse array")
        _check_values(values[2:], starts[-1], bool(flags[0] & 0x0800), exact=False)
    elif kind == _CHAR:  # UTF-8 may have more bytes than characters
        if count and (not values or _n_values(values[0]) < count):
            raise _Damaged("text")
    elif count or values:
        _check_values(values, count, bool(flags[0] & 0x0800), exact=True)


def _check_values(values: list[_Element], count: int, is_complex: bool, exact: bool) -> None:
    parts = values[: 1 + is_complex]
    fits = [_n_values(part) == count if exact else _n_values(part) >= count for part in parts]
    if len(parts) != 1 + is_complex or not all(fits):
        raise _Damaged("values")


def _n_values(element: _Element) -> int:
    """Number of values of an element; -1 where its size is no multiple of theirs."""
    width = _BYTES.get(element.kind, 0)
    return element.size // width if width and element.size % width == 0 else -1


def _n_fields(content: bytes, parts: list[_Element], order: str) -> int:
    """Number of fields of a struct, whose names end in a zero and have one width."""
    width = _integers(content, parts[0], order, "field names") if len(parts) == 2 else ()
    if len(width) != 1 or not 0 < width[0] <= 256 or parts[1].size % width[0] or parts[1].kind not in _TEXT:
        raise _Damaged("field names")
    ends = range(parts[1].start + width[0] - 1, parts[1].start + parts[1].size, width[0])
    if any(content[end] for end in ends):
        raise _Damaged("field names")
    return len(ends)
