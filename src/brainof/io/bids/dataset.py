"""BidsIndex: the datasets below a folder, their recordings, metadata and problems."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ...errors import ReadError
from ...paths import user_path
from .filters import BidsFilter, Wanted
from .names import BidsFile
from .scan import Scanned, scan
from .sidecars import Sidecars

#: extension -> extensions of which one must stand beside it
_PARTNERS = {".vhdr": (".eeg", ".dat", ".avg", ".EEG")}  # .set keeps its data where it likes


class BidsDataset:
    """One dataset: a raw one, or a derivative.

    Attributes
    ----------
    root : Path
    derivative : str or None
        Folder name of a derivative; None for raw data.
    description : dict
        dataset_description.json; empty where there is none.
    files : list of BidsFile
    """

    def __init__(self, scanned: Scanned) -> None:
        self.root, self.derivative, self.description = scanned.root, scanned.derivative, scanned.description
        self.files, self._problems = scanned.files, scanned.problems

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
        """JSON metadata of a file with inheritance.

        Raises ReadError: A JSON file is damaged.
        """
        return {key: value for key, (value, _) in self._sidecars(file).metadata.items()}

    def sidecars(self, file: BidsFile, suffix: str, extension: str = ".tsv") -> list[str]:
        """Paths of the sidecars that apply to a file, the nearest first."""
        return [sidecar.path for sidecar in self._sidecars(file).all(suffix, extension)]

    def _sidecars(self, file: BidsFile) -> Sidecars:
        return Sidecars.find(Path(file.path), self.root, self._listing)

    def problems(self) -> Iterator[tuple[str, str]]:
        """(path relative to the root, what is wrong) of recordings and links that cannot be used."""
        yield from ((".", problem) for problem in self._problems)
        paths = {file.path for file in self.files}
        for file in self.files:
            if file.missing:
                yield self._relative(file), "not downloaded (the link leads nowhere)"
            elif file.is_later_part and file.suffix in ("meg", "eeg"):
                first = _first_part(file)
                if first not in paths:
                    yield self._relative(file), f"its first part {os.path.basename(first)} is missing"
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
            if file.extension in (".json", ".tsv") and not file.missing and not os.path.getsize(file.path):
                yield self._relative(file), "empty (0 bytes)"

    def _relative(self, file: BidsFile) -> str:
        return os.path.relpath(file.path, self.root).replace(os.sep, "/")

    @cached_property
    def _by_folder(self) -> Mapping[str, list[BidsFile]]:
        folders: dict[str, list[BidsFile]] = {}
        for file in self.files:
            if file.extension in (".json", ".tsv"):
                folders.setdefault(os.path.dirname(file.path), []).append(file)
        return folders

    def _listing(self, folder: str) -> list[BidsFile]:
        return self._by_folder.get(folder, [])


class BidsIndex:
    """All datasets below a folder.

    Attributes
    ----------
    root : Path
    datasets : list of BidsDataset
    """

    def __init__(self, root: Path, datasets: list[BidsDataset]) -> None:
        self.root, self.datasets = root, datasets

    def select(self, wanted: BidsFilter | Mapping[str, Wanted] | None = None) -> list[BidsFile]:
        """Recordings that fit, in order of their paths."""
        chosen = wanted if isinstance(wanted, BidsFilter) else BidsFilter(wanted)
        found = [
            file
            for dataset in self.datasets
            if chosen.takes_dataset(dataset.derivative, dataset.generators)
            for file in dataset.recordings
            if chosen.takes(file)
        ]
        return sorted(found, key=lambda file: file.path)


def index(root: str | PathLike[str]) -> BidsIndex:
    """Index the BIDS datasets in a folder.

    Parameters
    ----------
    root : path-like
        A dataset (its derivatives are found too), a derivative, or a folder of datasets.

    Raises ReadError: it is no folder, or holds no dataset.
    """
    folder = user_path(root, ReadError)
    if not folder.is_dir():
        raise ReadError("is not a folder", file=folder, fix="give the folder of a BIDS dataset")
    datasets = [BidsDataset(scanned) for scanned in scan(folder)]
    if not datasets:
        fix = "a dataset has a dataset_description.json or sub-* folders; for other layouts write a recipe"
        raise ReadError("holds no BIDS dataset", file=folder, fix=fix)
    return BidsIndex(folder, datasets)


def _first_part(file: BidsFile) -> str:
    split = file.entities["split"]
    first = "1".rjust(len(split), "0")
    return os.path.join(os.path.dirname(file.path), file.name.replace(f"_split-{split}_", f"_split-{first}_"))
