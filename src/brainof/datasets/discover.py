"""Find the recordings of a dataset: root-relative patterns with named entities -> paths."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import BrainOFError, ConfigError, ReadError
from ..io import bids
from ..io.bids.names import ENTITY_NAMES, FOLDER_EXTENSIONS, shown
from ..io.formats import first_part
from ..paths import user_path
from ..utils.values import listed
from .recipe import Files

logger = logging.getLogger(__name__)

_ENTITY = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Found:
    """A recording on disk."""

    path: Path
    name: str  # Path relative to the root with forward slashes; the identity of the recording
    entities: dict[str, str] = field(default_factory=dict)  # What the pattern's placeholders matched, and its constants


def discover(files: Sequence[Files], root: str | os.PathLike[str], recipe: str = "recipe") -> list[Found]:
    """Recordings that patterns and BIDS filters match (the first entry counts), by name; ConfigError for none."""
    base = user_path(root)
    if not base.is_dir():
        raise ConfigError("is not a folder", file=base, fix="give the folder the dataset lies in")
    found: dict[str, Found] = {}
    for entry in files:
        before = len(found)
        for path, entities in _matches(entry, base, recipe):
            name = path.relative_to(base).as_posix()
            found.setdefault(name, Found(path, name, {**entities, **entry.entities}))
        if len(found) == before:
            what = repr(entry.pattern) if entry.bids is None else f"bids {entry.bids!r}"
            logger.warning("%s: nothing matches %s under %s", recipe, what, base)
        elif entry.bids is not None:
            _refuse_absent(entry.bids, list(found.values())[before:], base, recipe)
    if not found:
        patterns = ", ".join(repr(entry.pattern or entry.bids) for entry in files)
        there = [text for entry in files if entry.bids is not None for text in _there(base, entry.bids)]
        fix = "; ".join(["check root= and the pattern", *there])
        raise ConfigError(f"nothing under {base} matches {patterns}", file=recipe, field="files", fix=fix)
    return [found[name] for name in sorted(found)]


def _matches(entry: Files, base: Path, recipe: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Recordings under the root by the filter or the pattern of an entry, with the entities in their names."""
    if entry.bids is not None:
        for file in bids.index(base).select(entry.bids):  # links that lead nowhere too, so that they are reported
            yield base / Path(file.path).relative_to(os.path.abspath(base)), dict(file.entities)
        return
    parts = PurePosixPath(entry.pattern or "").parts
    if not parts or parts[0] == "/" or ".." in parts:
        text = f"pattern {entry.pattern!r} leaves the root"
        raise ConfigError(text, file=recipe, field="files", fix="write it from the root")
    yield from _walk(base, parts, {})


def _refuse_absent(wanted: Mapping[str, Any], found: Sequence[Found], base: Path, recipe: str) -> None:
    """ConfigError where a list of a BIDS filter names a value (a task) that no recording has."""
    for key, values in wanted.items():
        there = {known.entities.get(ENTITY_NAMES.get(key, key)) for known in found}
        for value in values if isinstance(values, list) and there != {None} else ():
            if value not in there and not set(value) & set("*?["):
                fix = "; ".join(_there(base, {**wanted, key: [value]}))
                raise ConfigError(f"no recording has {key} {value!r}", file=recipe, field=f"files.bids.{key}", fix=fix)


def _there(base: Path, wanted: Mapping[str, Any]) -> list[str]:
    """For each entity of a BIDS filter that no recording has: the values there are."""
    kind = {key: value for key, value in wanted.items() if key in ("suffix", "extension", "datatype", "derivative")}
    entities = [file.entities for file in bids.index(base).select(kind)]
    there = {}
    for key in wanted.keys() - kind.keys():
        there[key] = sorted({known[name] for known in entities if (name := ENTITY_NAMES.get(key, key)) in known})
    return sorted(f"{key} is one of {listed(values)}" for key, values in there.items() if values)


def inside(root: str | os.PathLike[str], relative: str | os.PathLike[str]) -> Path:
    """The path of a file of the dataset, with links followed; ReadError where it leaves the root."""
    base = Path(root).resolve()
    path = (base / relative).resolve()
    if not path.is_relative_to(base):
        raise ReadError(f"leaves the dataset root {root}", file=relative, fix="copy the file into the dataset")
    return path


def fill(
    template: str,
    entities: Mapping[str, str],
    field: str,
    error: type[BrainOFError] = ConfigError,
    file: Path | None = None,
) -> str:
    """Put entities into a template such as `sub-{subject}_events.tsv`; an `error` where the recording lacks one."""
    for name in _ENTITY.findall(template):
        if name not in entities:
            text = f"{template!r} names {{{name}}}, which the recording does not have"
            raise error(text, file=file, field=field, fix=f"known: {', '.join(sorted(entities)) or 'none'}")
    return _ENTITY.sub(lambda match: entities[match[1]], template)


def _walk(folder: Path, parts: tuple[str, ...], entities: dict[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Match one component of the pattern per level of folders, so that nothing else is ever listed."""
    first, rest = parts[0], parts[1:]
    try:
        with os.scandir(folder) as entries:
            children = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
    except PermissionError:
        logger.warning("%s cannot be read and is left out", folder)
        return
    if first == "**":
        if rest:
            yield from _walk(folder, rest, entities)
        for child in children:
            if child.is_dir(follow_symlinks=False):
                yield from _walk(folder / child.name, parts, entities)
        return
    matcher = _regex(first)
    for child in children:
        match = matcher.fullmatch(child.name)
        if match is None:
            continue
        if shown(child.name) != child.name:
            logger.warning("%s is not named in UTF-8 and is left out: rename it", shown(child.path))
            continue
        named = match.groupdict()
        if any(entities.get(key, value) != value for key, value in named.items()):
            continue  # the same placeholder twice must match the same text
        path, known = folder / child.name, {**entities, **named}
        if not rest:
            if (child.is_file() or child.name.endswith(FOLDER_EXTENSIONS)) and first_part(path) is None:
                yield path, known
        elif child.is_dir():
            yield from _walk(path, rest, known)


@lru_cache(maxsize=256)
def _regex(component: str) -> re.Pattern[str]:
    """One path component of a pattern as a regular expression."""
    text, seen = "", set()
    for part in re.split(r"(\*|\{[A-Za-z][A-Za-z0-9_]*\})", component):
        entity = _ENTITY.fullmatch(part)
        if entity is None:
            text += "[^/]*" if part == "*" else re.escape(part)
        else:  # the same placeholder twice must match the same text
            text += f"(?P={entity[1]})" if entity[1] in seen else f"(?P<{entity[1]}>[^/_]+?)"
            seen.add(entity[1])
    return re.compile(text)
