"""Any error of a library while it opens a file -> one ReadError that names the file and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BrainOFError, ReadError


@contextmanager
def damage_named(
    path: Path,
    problem: str = "cannot be read",
    field: str | None = None,
    fix: str = "the file is damaged or of another format",
) -> Iterator[None]:
    """Errors of gzip, zlib, zipfile, nibabel, h5py, scipy and pandas become a ReadError; each has its own word for it.

    Raises ReadError: in place of any error but MemoryError and PermissionError, which are no fault of the content.
    """
    try:
        yield
    except (BrainOFError, MemoryError, PermissionError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ReadError(f"{problem} ({reason})", file=path, field=field, fix=fix) from error
