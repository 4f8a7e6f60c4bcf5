"""Paths that a user gives: `~` is replaced, and what no file system takes is one named line."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from .errors import BrainOFError, ConfigError

#: Folders in each other: more than anybody has, and fewer than functions of Python bear that call themselves for each
DEEPEST = 256
#: Bytes of a name and of a path that file systems take
LONGEST_NAME, LONGEST_PATH = 255, 4095


def user_path(path: str | PathLike[str], error: type[BrainOFError] = ConfigError) -> Path:
    """The path with `~` replaced; everything public that takes a path begins with this.

    Raises `error`: a NUL byte, a user that there is not, more folders or longer names than a file system takes.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise error("holds a NUL byte", file=text.replace("\0", "\\0"), fix="check the path")
    try:
        found = Path(text).expanduser()
        parts = [len(os.fsencode(part)) for part in found.parts]
    except RuntimeError as problem:
        raise error(f"{problem}".lower().rstrip("."), file=text, fix="write the whole path") from None
    except UnicodeEncodeError:
        raise error("is not the name of a file", file=ascii(text), fix="check the path") from None
    if len(parts) > DEEPEST:
        raise error(f"{len(parts)} folders in each other", file=text, fix=f"use at most {DEEPEST}")
    if max(parts, default=0) > LONGEST_NAME or sum(parts) + len(parts) > LONGEST_PATH:
        raise error("the file name is too long", file=text, fix="check the path")
    return found
