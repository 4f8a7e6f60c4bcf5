"""Sidecars: the events, channels, electrodes and JSON files of a BIDS dataset that apply to one recording."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ...errors import ReadError
from ...utils.files import parse_json
from ..text_table import decoded
from .names import DATATYPES, DESCRIPTION, BidsFile, as_spelled, parse, same_entity

#: levels of folders between a file and the root of its dataset: datatype, session, subject, and one to spare
_MOST_LEVELS = 5

#: entities of an image that its confounds do not have
_NOT_OF_CONFOUNDS = ("space-", "desc-", "res-", "cohort-", "hemi-", "den-")


@dataclass(frozen=True)
class Sidecars:
    """What applies to one recording by inheritance, from its own folder up to the root of its dataset."""

    path: Path
    root: Path  # Of the dataset it lies in
    entities: dict[str, str]  # Of its name, as is the suffix (`eeg`, `bold`, ...)
    suffix: str
    folders: tuple[Path, ...]  # Where sidecars are looked for, the nearest first; none where they are to be ignored

    @classmethod
    def find(cls, path: Path, root: Path | None = None) -> Sidecars:
        """The sidecars of a file in its dataset: the nearest folder with a dataset_description.json.

        Without one, the folder above `sub-*/ses-*/datatype`; never above `root` where that is given and lies above the
        folder of the file.
        """
        own = base = Path(os.path.abspath(path.parent))
        bound, levels = Path(os.path.abspath(root)) if root is not None else own, (own, *own.parents)
        for above in levels[:_MOST_LEVELS]:
            if (above / DESCRIPTION).is_file() or above == bound != own:
                base = above
                break
        else:
            while base.name in DATATYPES or base.name.startswith(("sub-", "ses-")):
                base = base.parent
        entities, suffix, _ = parse(path.name)
        return cls(path, base, entities, suffix, levels[: levels.index(base) + 1])

    @property
    def is_bids(self) -> bool:
        """True where the name of the recording begins with a subject."""
        return bool(self.entities.get("subject"))

    def all(
        self, suffix: str, extension: str, free: tuple[str, ...] = (), entities: Mapping[str, str] | None = None
    ) -> list[BidsFile]:
        """Sidecars of a suffix and extension, the nearest first, whose entities fit the recording's, or are `free`."""
        own = self.entities if entities is None else entities
        found = []
        for folder in self.folders:
            try:
                there = _listed(str(folder), os.stat(folder).st_mtime_ns)
            except OSError:
                continue
            fitting = [
                file
                for run in dict.fromkeys(("", _run(own.get("run"))))
                for file in there.get((suffix, extension, run), ())
                if not file.missing
                and all(key in free or same_entity(key, own.get(key), value) for key, value in file.entities.items())
            ]
            # an index that is written alike (run-01) goes before one that only counts alike (run-1)
            exact = {file.path: all(own.get(k) == v for k, v in file.entities.items()) for file in fitting}
            found += sorted(fitting, key=lambda file: (-len(file.entities), not exact[file.path]))
        return found

    def first(self, suffix: str, extension: str) -> Path | None:
        """The nearest and most specific of `all`."""
        found = self.all(suffix, extension)
        return Path(found[0].path) if found else None

    @cached_property
    def events(self) -> Path | None:
        """events.tsv; that of the raw dataset where a derivative (in `derivatives/NAME` of it) has none."""
        if not self.entities:
            return None
        found = self.first("events", ".tsv")
        if found is None and self.root.parent.name == "derivatives" and self.folders:
            raw = self.root.parent.parent
            there = raw / Path(os.path.abspath(self.path)).relative_to(self.root)
            return Sidecars.find(there, raw).first("events", ".tsv")
        return found

    @cached_property
    def metadata(self) -> dict[str, tuple[Any, str]]:
        """Metadata of the JSON files: key -> (value, file it comes from); nearer files win key by key."""
        values: dict[str, tuple[Any, str]] = {}
        for file in reversed(self.all(self.suffix, ".json")):
            values |= {key: (value, file.path) for key, value in read_json(file.path).items()}
        return values

    def number(self, key: str) -> float | None:
        """A number of the metadata; None where there is none, ReadError where it is no finite number."""
        value, file = self.metadata.get(key, (None, ""))
        if value is None:
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ReadError(f"{str(value)[:40]!r} is not a number", file=file, field=key, fix="correct the file")
        return number

    def confounds(self) -> Path:
        """fMRIPrep's table of confounds beside an image (older ones are `regressors`), or where it should be."""
        parts = self.path.name.split(".")[0].split("_")[:-1]
        stem = "_".join(part for part in parts if not part.startswith(_NOT_OF_CONFOUNDS))
        new, old = (self.path.parent / f"{stem}_desc-confounds_{word}.tsv" for word in ("timeseries", "regressors"))
        return next((path for path in map(as_spelled, (new, old)) if path.is_file()), new)

    def paths(self) -> list[Path]:
        """Every sidecar that decides what a recording is read as."""
        wanted = [(self.suffix, ".json"), ("channels", ".tsv"), ("electrodes", ".tsv"), ("coordsystem", ".json")]
        found = [Path(file.path) for kind, end in wanted for file in self.all(kind, end, free=("space",))]
        return [*found, *([self.events] if self.events else [])]


def read_json(path: str) -> Mapping[str, Any]:
    """A JSON mapping, remembered by its state on disk; ReadError where it is damaged or none."""
    try:
        return _json(path, os.stat(path).st_mtime_ns)
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read ({error})", file=path, field="JSON", fix="correct or remove it") from None


@lru_cache(maxsize=1024)
def _json(path: str, _changed: int) -> Mapping[str, Any]:
    values = parse_json(decoded(Path(path).read_bytes())[0])
    if not isinstance(values, dict):
        raise ValueError("it holds no keys")
    return values


@lru_cache(maxsize=512)
def _listed(folder: str, _changed: int) -> dict[tuple[str, str, str], list[BidsFile]]:
    """By suffix, extension and run, so that a folder of many runs is not searched through for each of them."""
    found = defaultdict[tuple[str, str, str], list[BidsFile]](list)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.endswith((".json", ".tsv")) and not entry.is_dir():
                file = BidsFile(entry.path, entry.name, *parse(entry.name), not entry.is_file())
                found[file.suffix, file.extension, _run(file.entities.get("run"))].append(file)
    return dict(found)


def _run(value: str | None) -> str:
    """A run as it is compared: run-01 is run-1 (see `same_entity`)."""
    return (value or "").lstrip("0")
