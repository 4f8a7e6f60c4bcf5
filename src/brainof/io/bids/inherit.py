"""Inheritance: which sidecars apply to a file, from the dataset's root down to the folder of the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import ReadError
from .names import DATATYPES, BidsFile, file_of, parse
from .scan import DESCRIPTION

Listing = Callable[[str], Sequence[BidsFile]]

#: levels of folders between a file and the root of its dataset: datatype, session, subject, and one to spare
_MOST_LEVELS = 5


def dataset_root(path: Path, root: Path | None = None) -> Path:
    """The dataset that a file lies in: the nearest folder with a dataset_description.json.

    Without one, the folder above `sub-*/ses-*/datatype`; never above `root` where that is given and lies above the
    folder of the file.
    """
    folder = Path(os.path.abspath(path.parent))
    bound = Path(os.path.abspath(root)) if root is not None else folder
    bound = None if bound == folder else bound  # type: ignore[assignment]
    for _ in range(_MOST_LEVELS):
        if (folder / DESCRIPTION).is_file() or folder == bound:
            return folder
        if folder.parent == folder:
            break
        folder = folder.parent
    folder = Path(os.path.abspath(path.parent))
    while folder.name in DATATYPES or folder.name.startswith(("sub-", "ses-")):
        folder = folder.parent
    return folder


def raw_root(root: Path) -> Path | None:
    """The raw dataset of a derivative that lies in `derivatives/NAME` of it."""
    return root.parent.parent if root.parent.name == "derivatives" else None


def applicable(
    path: Path,
    root: Path,
    suffix: str,
    extension: str,
    entities: Mapping[str, str],
    listing: Listing | None = None,
    free: tuple[str, ...] = (),
) -> list[BidsFile]:
    """Sidecars of a file, the nearest and most specific first.

    A sidecar applies where it lies in the folder of the file or above, has the suffix and extension, and each of its
    entities is one of the file's (those in `free` may differ).
    """
    listing = listing or listed_sidecars
    found = []
    for folder in _levels(path.parent, root):
        fitting = [
            file
            for file in listing(str(folder))
            if file.suffix == suffix
            and file.extension == extension
            and all(entities.get(key) == value or key in free for key, value in file.entities.items())
        ]
        found += sorted(fitting, key=lambda file: -len(file.entities))
    return found


def inherited(
    path: Path, root: Path, suffix: str, entities: Mapping[str, str], listing: Listing | None = None
) -> dict[str, tuple[Any, str]]:
    """Metadata of a file: key -> (value, JSON file it comes from); nearer files win key by key.

    Raises
    ------
    ReadError
        A JSON file is damaged or not a mapping.
    """
    values: dict[str, tuple[Any, str]] = {}
    for file in reversed(applicable(path, root, suffix, ".json", entities, listing)):
        if not file.missing:
            values |= {key: (value, file.path) for key, value in read_json(file.path).items()}
    return values


def read_json(path: str) -> Mapping[str, Any]:
    """A JSON mapping, remembered by its state on disk.

    Raises
    ------
    ReadError
    """
    try:
        return _json(path, os.stat(path).st_mtime_ns)
    except (ValueError, OSError, RecursionError) as error:
        raise ReadError(f"cannot be read ({error})", file=path, field="JSON", fix="correct or remove it") from None


@lru_cache(maxsize=1024)
def _json(path: str, _changed: int) -> Mapping[str, Any]:
    values = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    if not isinstance(values, dict):
        raise ValueError("it holds no keys")
    return values


def listed_sidecars(folder: str) -> Sequence[BidsFile]:
    """The .json and .tsv files of a folder, remembered until it changes."""
    try:
        return _listed(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return ()


@lru_cache(maxsize=512)
def _listed(folder: str, _changed: int) -> tuple[BidsFile, ...]:
    with os.scandir(folder) as entries:
        return tuple(
            file_of(entry.path, entry.name, not entry.is_file())
            for entry in entries
            if entry.name.endswith((".json", ".tsv")) and not entry.is_dir()
        )


def sidecar_files(path: Path, root: Path | None = None) -> list[Path]:
    """Files beside and above a BIDS recording that decide what it is read as: events, channels, electrodes, JSON.

    Empty for names that are no BIDS.
    """
    entities, suffix, _ = parse(path.name)
    if not entities.get("subject"):
        return []
    base = dataset_root(path, root)
    wanted = [(suffix, ".json"), ("channels", ".tsv"), ("electrodes", ".tsv"), ("coordsystem", ".json")]
    found = [file for kind, end in wanted for file in applicable(path, base, kind, end, entities, free=("space",))]
    found += event_files(path, root)
    tables = applicable(path, path.parent, "timeseries", ".tsv", entities, free=("description",))
    found += [file for file in tables if file.entities.get("description") == "confounds"]
    return [Path(file.path) for file in found if not file.missing]


def event_files(path: Path, root: Path | None = None) -> list[BidsFile]:
    """events.tsv of a recording, nearest first; those of the raw dataset where a derivative has none."""
    entities, _, _ = parse(path.name)
    base = dataset_root(path, root)
    found = applicable(path, base, "events", ".tsv", entities)
    raw = raw_root(base)
    if not found and raw is not None:
        there = raw / Path(os.path.abspath(path)).relative_to(base)
        found = applicable(there, raw, "events", ".tsv", entities)
    return [file for file in found if not file.missing]


def _levels(folder: Path, root: Path) -> list[Path]:
    """Folders from that of the file up to the root."""
    folder, root = Path(os.path.abspath(folder)), Path(os.path.abspath(root))
    levels = [folder]
    while levels[-1] != root and levels[-1].parent != levels[-1] and levels[-1].is_relative_to(root):
        levels.append(levels[-1].parent)
    return levels if levels[-1] == root else [folder]
