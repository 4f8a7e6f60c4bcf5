"""Walk a dataset with os.scandir: one listing per folder and no stat, except of links."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from ...utils.files import parse_json
from ..text_table import decoded
from .names import FOLDER_EXTENSIONS, BidsFile, file_of, parse

DESCRIPTION = "dataset_description.json"

#: folders of a dataset's root that hold no recordings of it
_NO_DATA = frozenset(("sourcedata", "code", "stimuli", "phenotype", "logs", "freesurfer"))

#: how deep datasets are looked for in a folder that is none itself
_COLLECTION_DEPTH = 3


@dataclass
class Scanned:
    """A dataset as the scan found it: a raw one, or a derivative."""

    root: Path
    derivative: str | None  # Folder name of a derivative; None for raw data
    description: dict[str, Any] = field(default_factory=dict)  # dataset_description.json; empty where there is none
    files: list[BidsFile] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)  # What is wrong with the folder itself
    ignored: int = 0  # Files of subjects that .bidsignore leaves out; a folder counts once


def scan(folder: Path) -> list[Scanned]:
    """The datasets in a folder: itself, its derivatives, or the datasets it is a collection of.

    Hidden files, `sourcedata`, `code` and what .bidsignore names are left out. Links to files count as files (as
    missing ones where they lead nowhere); links to folders are followed inside the dataset only, and once.
    """
    found: list[Scanned] = []
    _datasets(str(folder.absolute()), found, None, 0)
    return found


def _datasets(folder: str, found: list[Scanned], derivative: str | None, depth: int) -> None:
    entries = _listing(folder)
    names = {entry.name for entry in entries}
    if not (
        DESCRIPTION in names or derivative or any(entry.name.startswith("sub-") and entry.is_dir() for entry in entries)
    ):
        if depth < _COLLECTION_DEPTH:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    name = entry.name if os.path.basename(folder) == "derivatives" else None
                    _datasets(entry.path, found, name, depth + 1)
        return
    dataset = Scanned(Path(folder), derivative)
    if DESCRIPTION in names:
        dataset.description = _description(dataset)
        if derivative is None and dataset.description.get("DatasetType") == "derivative":
            dataset.derivative = os.path.basename(folder)
    elif derivative is None:
        dataset.odd.append(f"no {DESCRIPTION}")
    found.append(dataset)
    _walk(dataset, entries)
    for entry in entries:
        if entry.name == "derivatives" and entry.is_dir():
            for inner in _listing(entry.path):
                if inner.is_dir() and inner.name not in _NO_DATA and not inner.name.startswith("."):
                    _datasets(inner.path, found, inner.name, depth + 1)


def _description(dataset: Scanned) -> dict[str, Any]:
    try:
        values = parse_json(decoded((dataset.root / DESCRIPTION).read_bytes())[0])
        if isinstance(values, dict):
            return values
        dataset.odd.append(f"{DESCRIPTION} holds no keys")
    except (OSError, ValueError) as error:
        dataset.odd.append(f"{DESCRIPTION} cannot be read ({error})")
    return {}


def _walk(dataset: Scanned, entries: list[os.DirEntry[str]]) -> None:
    root, ignored = str(dataset.root), GitIgnoreSpec([])
    with suppress(OSError, ValueError, re.error):  # no such file, or a pattern that is none
        lines = (dataset.root / ".bidsignore").read_text(encoding="utf-8", errors="replace").splitlines()
        ignored = GitIgnoreSpec.from_lines(lines)
    real_root, seen = os.path.realpath(root), {os.path.realpath(root)}
    stack = [[entry for entry in entries if entry.name not in _NO_DATA and entry.name != "derivatives"]]
    while stack:
        for entry in stack.pop():
            name = entry.name
            if name[0] == ".":
                continue
            if not is_utf8(name):
                dataset.odd.append(f"{shown(os.path.relpath(entry.path, root))} is not named in UTF-8: rename it")
                continue
            is_link = entry.is_symlink()
            is_folder = entry.is_dir()
            if ignored and ignored.match_file(os.path.relpath(entry.path, root) + os.sep * is_folder):
                dataset.ignored += "sub-" in os.path.relpath(entry.path, root)
                continue
            if not is_folder:
                dataset.files.append(file_of(entry.path, name, is_link and not os.path.exists(entry.path)))
                continue
            if name.endswith(FOLDER_EXTENSIONS):
                dataset.files.append(file_of(entry.path, name))
            elif name.endswith("_meg") and name.startswith("sub-"):
                dataset.files += _recording_folder(entry.path, name)
            elif is_link:
                target = os.path.realpath(entry.path)
                if target in seen:
                    continue
                if not target.startswith(real_root + os.sep):
                    dataset.odd.append(f"{os.path.relpath(entry.path, root)} is a link that leaves the dataset")
                    continue
                seen.add(target)
                stack.append(_listing(entry.path, dataset))
            else:
                stack.append(_listing(entry.path, dataset))


def is_utf8(name: str) -> bool:
    """False for a name with bytes that no text can hold, and no corpus can either."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    """Such a name as text that can be printed."""
    return name.encode("utf-8", "backslashreplace").decode()


def _recording_folder(folder: str, name: str) -> Iterator[BidsFile]:
    """BTi/4D and KIT recordings are folders: the file inside that is opened, under the folder's name."""
    for entry in _listing(folder):
        lower = entry.name.lower()
        if lower.startswith("c,rf") or (lower.endswith((".con", ".sqd")) and "marker" not in lower):
            yield BidsFile(entry.path, entry.name, *parse(name))


def _listing(folder: str, dataset: Scanned | None = None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if dataset is not None:
            dataset.odd.append(f"{os.path.relpath(folder, dataset.root)} cannot be read ({error.strerror})")
        return []
