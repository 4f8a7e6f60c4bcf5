"""Arrays under a memory budget: beyond a size they live in a file without a name instead of in memory.

Outside `memory_budget` everything here is plain numpy. Inside, `empty` gives arrays above a fraction of the budget as
memory-mapped files, and `map_rows` and `each_row` release the pages they have finished with: these count as file cache,
which the system takes back when it needs memory, and no longer as memory of the process.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from os import PathLike
from typing import Any

import numpy as np

from ..errors import ConfigError, StorageError

#: Samples that are worked on at once, of one channel or of several short ones; 8 MB in float64, so that temporary
#: arrays stay small. The same with and without a budget, so that results do not depend on it.
BLOCK = 2**20
#: Memory of the program itself (torch, MNE) and of the temporary arrays of one block
OVERHEAD = 700 * 2**20
#: Part of the rest that one array may take
SHARE = 8

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
#: Bytes of the largest array that may be in memory, and the folder for larger ones
_budget: ContextVar[tuple[float, str | PathLike[str] | None]] = ContextVar("budget", default=(math.inf, None))


@contextmanager
def memory_budget(n_bytes: int | None, folder: str | PathLike[str] | None = None) -> Iterator[None]:
    """Keep the process below `n_bytes` while the block runs, as far as `empty` is used for everything large.

    None is no budget. The files go to `folder`; they have no name there and vanish with the process. By default it is
    the system's folder for temporary files, which on some machines is itself in memory.

    Raises ConfigError: the budget is below what the program needs to run at all.
    """
    if n_bytes is None:
        yield
        return
    if n_bytes <= OVERHEAD:
        text = f"{n_bytes / 1e9:.2g} GB are less than the program itself needs"
        raise ConfigError(text, field="memory", fix=f"give at least {math.ceil(OVERHEAD / 1e8) / 10:g}GB")
    token = _budget.set(((n_bytes - OVERHEAD) / SHARE, folder))
    try:
        yield
    finally:
        _budget.reset(token)


def empty(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """An array whose values are not set, in memory or (above a share of the budget) in a file (StorageError)."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    largest, folder = _budget.get()
    if n_bytes <= largest:
        return np.empty(shape, dtype)
    try:
        # without a name: neither a kill nor a crash leaves it behind
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)  # a full disk is an error here and a crash later
            return np.memmap(file, dtype=dtype, mode="w+", shape=shape).view(np.ndarray)
    except OSError as error:
        raise StorageError(
            f"no room for {n_bytes / 1e9:.3g} GB beside the memory ({error.strerror})",
            file=folder or tempfile.gettempdir(),
            fix="free some space, or raise memory=",
        ) from None


def release(*arrays: Any) -> None:
    """Give back the memory of mapped arrays (or of views of them); their values stay in the file. Plain ones: no-op."""
    for array in arrays:
        mapped = _mapping(array)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def each_row(array: np.ndarray, rows: Iterable[int] | None = None) -> Iterator[np.ndarray]:
    """The rows of an array, or those numbered, one after the other."""
    for row in range(len(array)) if rows is None else rows:
        yield array[row]
        release(array)


def in_memory(views: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Views (n_rows, n) of equally many rows, copied where they are of a mapped array; others as they are.

    Row by row: with each page that is touched the system maps up to 2 MB of its neighbours.
    """
    if _mapping(views[0]) is None:
        return views
    copies = [np.empty(view.shape, view.dtype) for view in views]
    for row in range(len(views[0])):
        for copy, view in zip(copies, views, strict=True):
            copy[row] = view[row]
        release(*views)
    return copies


def map_rows(
    function: Callable[[np.ndarray, slice], np.ndarray],
    array: np.ndarray,
    n_times: int | None = None,
    dtype: Any = np.float32,
) -> np.ndarray:
    """`function(array[rows], rows)` for all rows of an array (n_rows, n), few at a time: (n_rows, n_times) of `dtype`.

    `function` must not change its input; `n_times` is n unless given.
    """
    result = empty((len(array), array.shape[1] if n_times is None else n_times), dtype)
    together = max(1, BLOCK // max(1, array.shape[1]))
    for first in range(0, len(array), together):
        rows = slice(first, first + together)
        result[rows] = function(array[rows], rows)
        release(array, result)
    return result


def sampled(array: np.ndarray, rows: np.ndarray, step: int) -> np.ndarray:
    """`array[rows, ::step]`, one row at a time: samples this far apart touch every page of a mapped array."""
    return np.stack([values[::step].copy() for values in each_row(array, rows)])


def blocks(n_times: int, overlap: int = 0) -> list[tuple[int, int]]:
    """First and last sample of the blocks in which `n_times` samples are worked on.

    A block holds `BLOCK` samples but at least 4 * `overlap`, and the last takes the rest, up to twice as much.
    """
    size = max(BLOCK, 4 * overlap)
    starts = list(range(0, max(1, n_times - size + 1), size))
    return list(zip(starts, [*starts[1:], n_times], strict=True))


def parse_bytes(text: str | int) -> int:
    """`2GB`, `500 MB`, `1.5GiB` or a plain number as bytes (ConfigError)."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]i?)?b?\s*", str(text).lower())
    if match is None:
        raise ConfigError(f"{text!r}", field="memory", fix="write a size such as 2GB or 500MB")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def _mapping(array: Any) -> mmap.mmap | None:
    while array is not None:
        if isinstance(array, np.memmap):
            return array._mmap  # type: ignore[attr-defined]
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return None
