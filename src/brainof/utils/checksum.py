"""CRC-32C, the checksum of windows, indexes and checkpoints; SHA-256 of files.

`fastcrc` rather than zlib.crc32 or google-crc32c, because only it keeps up with the memory: over windows of a mapped
file 22 GB/s against 2.5 and 11 (the AWS runtime gave 25).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import fastcrc
import numpy as np

#: The CRC-32C of bytes, or of an array that lies in one piece (ValueError otherwise)
crc32c: Callable[[bytes | memoryview | np.ndarray], int] = fastcrc.crc32.iscsi  # type: ignore[assignment]  # no Buffer before Python 3.12


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
