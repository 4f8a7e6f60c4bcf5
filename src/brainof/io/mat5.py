"""MAT files of version 5, walked before scipy reads them: scipy's reader crashes the process on damaged ones.

Layout: MAT-File Format, MathWorks, version 5. The walk holds every element against its parent's length and the counts
that its dimensions announce; values are not decoded.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import ReadError
from .checks import check_size

#: data type -> bytes per value
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_DEEPEST = 40


class _Damaged(Exception):
    pass


@dataclass(frozen=True)
class _Element:
    kind: int
    start: int
    size: int
    after: int
    """Where the next element begins."""


def check_mat5(path: Path, max_bytes: int) -> None:
    """Walk a MAT file; files of other versions (4, 7.3) are left to their readers.

    Raises
    ------
    ReadError
        An element does not fit: the file is cut or damaged, or larger than `max_bytes` once decompressed.
    """
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
                element = _element(body, 0, len(body), order)
                if element.kind != _MATRIX:
                    raise _Damaged(f"compressed element at byte {128 + place}")
                _matrix(body, element.start, element.start + element.size, order, 0)
            else:
                _matrix(body, 0, size, order, 0)
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


def _element(content: bytes, place: int, end: int, order: str) -> _Element:
    """The element at `place`; small ones hold their length in the upper half of the type."""
    if place + 8 > end:
        raise _Damaged("element")
    kind, size = struct.unpack_from(order + "II", content, place)
    if kind >> 16:
        kind, size, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        if size > 4:
            raise _Damaged("small element")
    else:
        start = place + 8
        after = start + size + (-size % 8 if kind != _COMPRESSED else 0)
    if start + size > end or (kind not in _BYTES and kind != _MATRIX):
        raise _Damaged("element")
    return _Element(kind, start, size, min(after, end))


def _matrix(content: bytes, place: int, end: int, order: str, depth: int) -> None:
    if place == end:
        return  # an empty array
    if depth > _DEEPEST:
        raise _Damaged("nesting")
    flags = _element(content, place, end, order)
    if flags.size != 8 or flags.kind not in (5, 6):
        raise _Damaged("array flags")
    word = struct.unpack_from(order + "I", content, flags.start)[0]
    kind, is_complex = word & 0xFF, bool(word & 0x0800)
    if not 1 <= kind <= _OPAQUE:
        raise _Damaged("array class")
    if kind == _OPAQUE:  # a MATLAB object: its name, two more names, and one array
        place = flags.after
        for _ in range(3):
            place = _element(content, place, end, order).after
        inner = _element(content, place, end, order)
        if inner.kind != _MATRIX:
            raise _Damaged("MATLAB object")
        _matrix(content, inner.start, inner.start + inner.size, order, depth + 1)
        return
    dims = _element(content, flags.after, end, order)
    if dims.kind not in (5, 6) or dims.size % 4 or not 8 <= dims.size <= 128:
        raise _Damaged("dimensions")
    sizes = struct.unpack_from(f"{order}{dims.size // 4}i", content, dims.start)
    if min(sizes) < 0:
        raise _Damaged("dimensions")
    count = math.prod(sizes)
    if count > len(content) and kind != _SPARSE:
        raise _Damaged("dimensions")
    name = _element(content, dims.after, end, order)
    if name.kind not in (1, 2, 16):
        raise _Damaged("name")
    place = name.after
    if kind in (_STRUCT, _OBJECT):
        place, fields = _fields(content, place, end, order, kind)
        count *= fields
    if kind in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
        for _ in range(1 if kind == _FUNCTION else count):
            inner = _element(content, place, end, order)
            if inner.kind != _MATRIX:
                raise _Damaged("cell")
            _matrix(content, inner.start, inner.start + inner.size, order, depth + 1)
            place = inner.after
        return
    if kind == _SPARSE:
        rows = _element(content, place, end, order)
        columns = _element(content, rows.after, end, order)
        if rows.kind not in (5, 6) or columns.kind not in (5, 6) or columns.size != 4 * (sizes[1] + 1):
            raise _Damaged("sparse array")
        starts = struct.unpack_from(f"{order}{sizes[1] + 1}i", content, columns.start)
        if list(starts) != sorted(starts) or starts[0] != 0 or not 0 <= starts[-1] <= rows.size // 4:
            raise _Damaged("sparse array")
        place, count = columns.after, starts[-1]
    for _ in range(1 + is_complex):
        if count == 0 and place >= end:
            return
        values = _element(content, place, end, order)
        width = _BYTES.get(values.kind, 0)
        # text may be stored as UTF-8, with another number of bytes than characters
        there = values.size // width if width else -1
        if (
            values.size % max(width, 1)
            or there < 0
            or (kind != _CHAR and (there < count if kind == _SPARSE else there != count))
        ):
            raise _Damaged("values")
        if kind == _CHAR and values.size // width < count and values.kind != 16:
            raise _Damaged("text")
        place = values.after


def _fields(content: bytes, place: int, end: int, order: str, kind: int) -> tuple[int, int]:
    """Where the values of a struct begin, and its number of fields."""
    if kind == _OBJECT:
        place = _element(content, place, end, order).after
    length = _element(content, place, end, order)
    if length.kind not in (5, 6) or length.size != 4:
        raise _Damaged("field names")
    width = struct.unpack_from(order + "i", content, length.start)[0]
    names = _element(content, length.after, end, order)
    if not 0 < width <= 256 or names.size % width or names.kind not in (1, 2, 16):
        raise _Damaged("field names")
    text = content[names.start : names.start + names.size]
    if any(text[start : start + width][-1] for start in range(0, len(text), width)):
        raise _Damaged("field names")
    return names.after, names.size // width
