"""Small files of a corpus: written whole or not at all, read with an error that names them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import CorpusError, StorageError
from .checksum import crc32c
from .memory import release

TEMPORARY = ".tmp"
_LARGEST_TEXT = 64 * 2**20
_CONTENT, _CHECKSUM = "content", "content_crc32c"


def write_atomically(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` one after the other so that `path` appears complete, on disk, or not at all.

    A hidden temporary file beside `path` is written, synced and renamed, and the folder is synced, so that neither a
    killed process nor a power cut leaves half a file under its final name.

    Raises StorageError: the disk is full or the folder cannot be written; the temporary file is removed.
    """
    if not path.name:
        raise StorageError("is not a file name", file=path, fix="give one")
    parts = list(parts)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
                release(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path, sum(memoryview(part).nbytes for part in parts)) from None
    finally:
        # after a rename there is nothing left to remove; after any failure, an interrupt included, there may be
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Any, *, checksum: bool = False) -> None:
    """Write JSON by rename; leaves an equal file untouched.

    With `checksum` the values stand under "content" beside their CRC-32C; `read_json` compares the two.
    """
    if checksum:
        content = json.loads(_text(values))  # as it is read: keys are text, tuples are lists
        values = {_CONTENT: content, _CHECKSUM: crc32c(_text(content))}
    text = _text(values) + b"\n"
    with suppress(OSError):
        if path.read_bytes() == text:
            return
    write_atomically(path, [text])


def read_small_text(path: Path) -> str:
    """Text of a configuration that somebody else wrote; a ValueError above 64 MB, before memory is taken."""
    size = path.stat().st_size
    if size > _LARGEST_TEXT:
        raise ValueError(f"{size / 1e9:.3g} GB of text")
    return path.read_text()


def parse_json(text: str | bytes) -> Any:
    """Values of a JSON text; a ValueError where it is none, too deep a nesting included."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def read_json(where: str | Path, read: Callable[[], bytes] | None = None) -> dict[str, Any]:
    """Read a JSON object, from a file or what `read` gives; one written with a checksum is compared with it.

    Raises CorpusError: the file is missing, unreadable, changed since it was written, or not a JSON object.
    """
    try:
        values = parse_json(read() if read else Path(where).read_bytes())
    except FileNotFoundError:
        raise CorpusError("is missing", file=where) from None
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", file=where) from None
    except ValueError:
        raise CorpusError("is damaged (not valid JSON)", file=where) from None
    if isinstance(values, dict) and (_CONTENT in values or _CHECKSUM in values):
        if crc32c(_text(values.get(_CONTENT))) != values.get(_CHECKSUM) or len(values) != 2:
            raise CorpusError("is damaged (its checksum differs)", file=where, fix="restore it from a copy")
        values = values[_CONTENT]
    if not isinstance(values, dict):
        raise CorpusError("is damaged (not a JSON object)", file=where)
    return values


def _text(values: Any) -> bytes:
    # file names that are no UTF-8 hold lone surrogates, for which JSON has escapes
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False).encode(errors="backslashreplace")


def make_folder(path: Path) -> None:
    """Make a folder and its parents (StorageError)."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from None


def require_writable(path: Path) -> None:
    """The StorageError that writing `path` would end in, before the work that it is to hold is done."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path.parent, os.W_OK):
            code = errno.EACCES if path.parent.is_dir() else errno.ENOENT
            raise OSError(code, os.strerror(code))
    except OSError as error:
        raise storage_error(error, path) from None


def storage_error(error: OSError, path: Path, n_bytes: int = 0) -> StorageError:
    """The StorageError that says why `path` could not be written."""
    why = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(f"cannot be written ({why})", file=path, fix="choose a folder you may write to")
    text = f"cannot be written ({why})" + (f": needs {n_bytes / 1e6:.1f} MB" if n_bytes else "")
    with suppress(OSError):
        text += f", {shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free"
    fix = "free some space and run the command again; what was committed before is kept"
    return StorageError(text, file=path, fix=fix)


def sync_folder(folder: Path) -> None:
    # a rename is only durable once its folder is; Windows has no such call and does not need it
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync no folders
                raise
        finally:
            os.close(descriptor)
