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

from ..errors import ReadError
from .checks import check_size, damage_named

#: types of elements that hold values, and those that hold other elements
_VALUES, _MATRIX, _COMPRESSED = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18), 14, 15
#: classes of arrays
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_DEEPEST = 40


def check_mat5(path: Path, max_bytes: int) -> None:
    """Walk a MAT file of version 5 (others pass); ReadError where an element does not fit, or is too large unpacked."""
    with path.open("rb") as stream:
        head = stream.read(128)
        if head[:1] == b"M" and (head[:10] != b"MATLAB 5.0" or head[126:] not in (b"IM", b"MI")):
            # a damaged first line would send scipy to its reader of version 4
            raise ReadError("header is damaged", file=path, field="MAT header", fix="copy the file again")
        if head[:1] != b"M":
            return
        check_size(path.stat().st_size, max_bytes, path, "the file")
        content = stream.read()
    order = "<" if head[126:] == b"IM" else ">"
    with damage_named(path, fix="the file is cut or damaged"):
        for kind, start, size in _elements(content, order):
            body = content[start : start + size]
            if kind == _COMPRESSED:
                machine = zlib.decompressobj()
                body = machine.decompress(body, max_bytes + 1)
                max_bytes -= len(body)
                if max_bytes < 0 or not machine.eof:
                    raise ValueError("damaged compressed element")
                kind, start, size = next(_elements(body, order), (0, 0, 0))
                body = body[start : start + size]
            if kind != _MATRIX:
                raise ValueError("damaged element")
            _check_matrix(body, order, 0)


def _elements(content: bytes, order: str) -> Iterator[tuple[int, int, int]]:
    """Type, start and size of each element; small ones hold their size in the upper half of the type."""
    place = 0
    while place < len(content):
        kind, size = struct.unpack_from(order + "II", content, place)
        start, after = place + 8, place + 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if kind >> 16:
            kind, size, start, after = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        if start + size > min(len(content), after) or kind not in (*_VALUES, _MATRIX, _COMPRESSED):
            raise ValueError("damaged element")
        yield kind, start, size
        place = after


def _check_matrix(content: bytes, order: str, depth: int) -> None:
    """Every element lies inside the array, which has as many values as its dimensions announce, a byte each or more."""
    if not content:
        return  # an empty array
    parts = list(_elements(content, order))
    if depth > _DEEPEST or len(parts) < 3 or parts[0][0] not in (5, 6) or parts[0][2] != 8:
        raise ValueError("damaged array")
    flags = struct.unpack_from(order + "I", content, parts[0][1])[0]
    array_class, is_complex = flags & 0xFF, flags >> 11 & 1
    for kind, start, size in parts:
        if kind == _MATRIX:
            _check_matrix(content[start : start + size], order, depth + 1)
    if array_class == _OPAQUE:  # a MATLAB object, which has no dimensions
        return
    kind, start, size = parts[1]
    if not 1 <= array_class < _OPAQUE or kind not in (5, 6) or size % 4 or not 8 <= size <= 128:
        raise ValueError("damaged dimensions")
    sizes, values = struct.unpack_from(f"{order}{size // 4}i", content, start), parts[3:]
    if min(sizes) < 0:
        raise ValueError("damaged dimensions")
    count = 0 if array_class in (_SPARSE, _FUNCTION) else math.prod(sizes)
    if array_class in (_STRUCT, _OBJECT):
        values = values[array_class == _OBJECT :]  # behind the name of the class of an object
        count, values = count * _n_fields(content, values[:2], order), values[2:]
    if array_class in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
        there = sum(kind == _MATRIX for kind, _, _ in values)
    else:  # scipy reads on where a part is missing: rows and columns of a sparse array, values, the imaginary part
        least = (3 if array_class == _SPARSE else 1) + is_complex
        sizes_there = [-1 if kind == _MATRIX else size for kind, _, size in values]
        there = min(sizes_there) if len(values) >= least else -1
    if there < count:
        raise ValueError(f"damaged {'text' if array_class == _CHAR else 'values'}")


def _n_fields(content: bytes, parts: list[tuple[int, int, int]], order: str) -> int:
    """Number of fields of a struct, whose names end in a zero and have one width."""
    if len(parts) < 2 or parts[0][2] != 4 or parts[1][0] == _MATRIX:
        raise ValueError("damaged field names")
    width, (_, start, size) = struct.unpack_from(order + "I", content, parts[0][1])[0], parts[1]
    if not 0 < width <= 256 or size % width or any(content[start + width - 1 : start + size : width]):
        raise ValueError("damaged field names")
    return size // width
