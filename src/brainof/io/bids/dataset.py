"""BidsIndex, own code: half a second for 28,004 files, of which pybids takes a minute, bids2table 4 s (0025).

The datasets below a folder, their recordings, metadata and problems.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ...errors import ConfigError, ReadError, check_known
from ...paths import user_path
from ..text_table import header_of
from .names import ENTITY_NAMES, BidsFile
from .scan import DESCRIPTION, Scanned, scan
from .sidecars import Sidecars, read_json

#: extension -> extensions of which one must stand beside it
_PARTNERS = {".vhdr": (".eeg", ".dat", ".avg", ".EEG")}  # .set keeps its data where it likes


class BidsDataset(Scanned):
    """One dataset: a raw one, or a derivative."""

    @property
    def name(self) -> str:
        """The name it gives itself, or that of its folder."""
        return str(self.description.get("Name") or self.root.name)

    @property
    def generators(self) -> tuple[str, ...]:
        """Names of the programs that made it."""
        made_by = self.description.get("GeneratedBy")
        entries = made_by if isinstance(made_by, list) else []
        return tuple(str(entry["Name"]) for entry in entries if isinstance(entry, dict) and entry.get("Name"))

    @cached_property
    def recordings(self) -> list[BidsFile]:
        """Files that hold EEG, MEG or fMRI signals, in order of their paths."""
        return sorted((file for file in self.files if file.modality is not None), key=lambda file: file.path)

    def values(self, entity: str) -> list[str]:
        """The values of an entity among the recordings."""
        return sorted({file.entities[entity] for file in self.recordings if entity in file.entities})

    def metadata(self, file: BidsFile) -> dict[str, Any]:
        """JSON metadata of a file with inheritance; ReadError where a JSON file is damaged."""
        return {key: value for key, (value, _) in Sidecars.find(Path(file.path), self.root).metadata.items()}

    def problems(self) -> Iterator[tuple[str, str]]:
        """(path relative to the root, what is wrong) of recordings and links that cannot be used."""
        yield from ((".", problem) for problem in self.odd)
        paths = {file.path for file in self.files}
        for file in self.files:
            if file.missing:
                yield self._relative(file), "not downloaded (the link leads nowhere)"
            elif file.is_later_part and file.suffix in ("meg", "eeg"):
                split = file.entities["split"]
                first = file.name.replace(f"_split-{split}_", f"_split-{'1'.rjust(len(split), '0')}_")
                if os.path.join(os.path.dirname(file.path), first) not in paths:
                    yield self._relative(file), f"its first part {first} is missing"
        for file in self.recordings:
            if file.missing:
                continue
            partners = _PARTNERS.get(file.extension, ())
            stem = file.path[: len(file.path) - len(file.extension)]
            there = [stem + partner for partner in partners if stem + partner in paths]
            if partners and not there:
                yield self._relative(file), f"{os.path.basename(stem)}{partners[0]} is missing"
            elif there and all(os.path.isfile(partner) and not os.path.getsize(partner) for partner in there):
                yield self._relative(file), f"{os.path.basename(there[0])} is empty (0 bytes)"
            elif os.path.isfile(file.path) and not os.path.getsize(file.path):
                yield self._relative(file), "empty (0 bytes)"
        for file in self.files:
            if file.extension in (".json", ".tsv") and not file.missing and (problem := _problem_of_sidecar(file)):
                yield self._relative(file), problem

    def _relative(self, file: BidsFile) -> str:
        return os.path.relpath(file.path, self.root).replace(os.sep, "/")


#: suffix of a table -> the columns without which reading stops
_COLUMNS = {"events": ("onset",), "channels": ("name",), "electrodes": ("name", "x", "y", "z")}


def _problem_of_sidecar(file: BidsFile) -> str | None:
    """Why reading would stop on a sidecar, as far as its beginning tells."""
    if not os.path.getsize(file.path):
        return "empty (0 bytes)"
    if file.extension == ".tsv" and file.suffix in _COLUMNS:
        there = header_of(Path(file.path))
        return next((f"no column {name!r}" for name in _COLUMNS[file.suffix] if name not in there), None)
    if file.extension == ".json" and file.name != DESCRIPTION:  # the scan says what is wrong with that
        try:
            read_json(file.path)
        except ReadError as error:
            return error.problem
    return None


#: keys of a filter that are no entities
OTHER_KEYS = ("suffix", "extension", "datatype", "derivative")

Wanted = str | list[str] | None


class BidsFilter:
    """Recordings by key -> value, list of values, pattern (fnmatch), or None for "has no such entity".

    Keys are entities by their short or long name (`ses` or `session`), `suffix`, `extension`, `datatype` and
    `derivative`; without `derivative` only raw datasets are meant. ConfigError suggests the nearest of an unknown key.
    """

    def __init__(self, wanted: Mapping[str, Wanted] | None = None) -> None:
        self.wanted: dict[str, tuple[str, ...] | None] = {}
        known = {*ENTITY_NAMES, *ENTITY_NAMES.values(), *OTHER_KEYS}
        for key, value in (wanted or {}).items():
            check_known(key, known, ConfigError, "unknown key {!r}", field="bids")
            values = None if value is None else tuple(map(str, value)) if isinstance(value, list) else (str(value),)
            self.wanted[ENTITY_NAMES.get(key, key)] = values
        derivative = self.wanted.pop("derivative", None)
        self.derivative = derivative[0] if derivative else None

    def takes_dataset(self, derivative: str | None, generators: tuple[str, ...]) -> bool:
        """True for a dataset of this derivative name (its folder or a program that made it), or a raw one."""
        if self.derivative is None:
            return derivative is None
        names = [name.lower() for name in ((derivative,) if derivative else ()) + generators]
        return any(fnmatchcase(name, self.derivative.lower()) for name in names)

    def takes(self, file: BidsFile) -> bool:
        """True where every key fits."""
        for key, values in self.wanted.items():
            own = getattr(file, key) if key in OTHER_KEYS else file.entities.get(key)
            if values is None:
                if own:
                    return False
            elif own is None or not any(own == value or fnmatchcase(own, value) for value in values):
                return False
        return True


@dataclass
class BidsIndex:
    """All datasets below a folder."""

    root: Path
    datasets: list[BidsDataset]

    def select(self, wanted: BidsFilter | Mapping[str, Wanted] | None = None) -> list[BidsFile]:
        """Recordings that fit, in order of their paths."""
        chosen = wanted if isinstance(wanted, BidsFilter) else BidsFilter(wanted)
        datasets = [each for each in self.datasets if chosen.takes_dataset(each.derivative, each.generators)]
        found = [file for dataset in datasets for file in dataset.recordings if chosen.takes(file)]
        return sorted(found, key=lambda file: file.path)


def index(root: str | PathLike[str]) -> BidsIndex:
    """Index a dataset and its derivatives, a derivative, or a folder of datasets; ReadError where it holds none."""
    folder = user_path(root, ReadError)
    if not folder.is_dir():
        raise ReadError("is not a folder", file=folder, fix="give the folder of a BIDS dataset")
    datasets = [BidsDataset(**vars(scanned)) for scanned in scan(folder)]
    if not datasets:
        fix = "a dataset has a dataset_description.json or sub-* folders; for other layouts write a recipe"
        raise ReadError("holds no BIDS dataset", file=folder, fix=fix)
    return BidsIndex(folder, datasets)


def summary(index: BidsIndex) -> dict[str, Any]:
    """Datasets with subjects, sessions, tasks, recordings by modality and form, and what cannot be used."""
    return {"root": str(index.root), "datasets": [_summary(dataset, index.root) for dataset in index.datasets]}


def _summary(dataset: BidsDataset, root: Path) -> dict[str, Any]:
    kinds = ("modality", "extension", "space", "resolution", "density", "description")
    forms: Counter[tuple[str, ...]] = Counter()
    for file in dataset.recordings:
        own = {"modality": file.modality, "extension": file.extension or "folder", **file.entities}
        forms[tuple(str(own.get(kind) or "") for kind in kinds)] += 1
    return {
        "name": dataset.name,
        "path": os.path.relpath(dataset.root, root).replace(os.sep, "/"),
        "derivative": dataset.derivative,
        "generated_by": list(dataset.generators),
        "files": len(dataset.files),
        "subjects": dataset.values("subject"),
        "sessions": dataset.values("session"),
        "tasks": dataset.values("task"),
        "recordings": dict(Counter(str(file.modality) for file in dataset.recordings)),
        "forms": [
            {kind: value for kind, value in zip(kinds, form, strict=True) if value} | {"recordings": count}
            for form, count in sorted(forms.items())
        ],
        "ignored": dataset.ignored,
        "missing": sum(file.missing for file in dataset.recordings),
        "problems": [{"file": name, "problem": problem} for name, problem in dataset.problems()],
    }
