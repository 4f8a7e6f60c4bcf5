"""BIDS file names: entities, suffix, extension, and which names are recordings."""

from __future__ import annotations

import glob
from os import sep
from pathlib import Path
from typing import NamedTuple

from ...channels import Modality

DESCRIPTION = "dataset_description.json"

#: BIDS entity keys -> the words used everywhere else
ENTITY_NAMES = {
    **{name: name for name in ("task", "run", "echo", "split", "part", "space", "cohort", "atlas", "recording")},
    "sub": "subject",
    "ses": "session",
    "acq": "acquisition",
    "rec": "reconstruction",
    "dir": "direction",
    "proc": "processing",
    "hemi": "hemisphere",
    "res": "resolution",
    "den": "density",
    "seg": "segmentation",
    "desc": "description",
}

#: entities whose values are numbers, with or without leading zeros
_INDICES = frozenset(("run", "echo", "split"))

#: folders that hold recordings
DATATYPES = ("eeg", "meg", "func", "anat", "ieeg", "fmap", "dwi", "beh", "perf", "pet", "nirs", "motion", "figures")

#: recordings that are folders
FOLDER_EXTENSIONS = (".ds", ".mff")

#: subjects, tasks and acquisitions of MEG files that are no recordings of a brain: calibration, and an empty room
_NO_BRAINS = frozenset(("crosstalk", "calibration", "emptyroom", "noise"))

_EEG = (".edf", ".bdf", ".gdf", ".vhdr", ".set", ".fif", ".fif.gz", ".cnt", ".mff", ".lay", ".cdt")
_MEG = (".fif", ".fif.gz", ".ds", ".con", ".sqd", "")
_BOLD = (".nii", ".nii.gz", ".dtseries.nii", ".ptseries.nii", ".func.gii", ".gii")
_RECORDINGS: dict[str, tuple[Modality, tuple[str, ...]]] = {
    "eeg": ("eeg", _EEG),
    "meg": ("meg", _MEG),
    "bold": ("fmri", _BOLD),
    "timeseries": ("fmri", (".tsv", ".ptseries.nii")),
}


class BidsFile(NamedTuple):
    """One file (or recording folder) of a dataset."""

    path: str  # absolute; of folders of BTi and KIT recordings the file inside that is opened
    name: str  # without folders
    entities: dict[str, str]  # by the words of `ENTITY_NAMES`; keys that BIDS does not have stay as they are
    suffix: str  # `eeg` of `sub-01_task-rest_eeg.vhdr`
    extension: str  # in lower case
    missing: bool = False  # a link to content that is not here (datalad, git-annex)

    @property
    def datatype(self) -> str:
        """The folder that tells the kind of data, or empty text."""
        for folder in self.path.split(sep)[-2:-5:-1]:
            if folder in DATATYPES:
                return folder
        return ""

    @property
    def modality(self) -> Modality | None:
        """Of a recording of a subject's brain; None for every other file and for later parts of a split FIF file."""
        modality, extensions = _RECORDINGS.get(self.suffix, (None, ()))
        if modality is None or self.extension not in extensions or "subject" not in self.entities:
            return None
        words = {self.entities["subject"], self.entities.get("task", ""), self.entities.get("acquisition", "")}
        if self.suffix == "meg" and {word.lower() for word in words} & _NO_BRAINS:
            return None
        if self.suffix == "timeseries" and self.entities.get("description") == "confounds":
            return None
        return None if self.is_later_part else modality

    @property
    def is_later_part(self) -> bool:
        """True for split-02 and later of a FIF file, which are read with the first."""
        return "split" in self.entities and self.entities["split"].lstrip("0") != "1"


def same_entity(key: str, one: str | None, other: str | None) -> bool:
    """True where two values of an entity mean the same: an index is a number, so run-1 is run-01."""
    if one == other:
        return True
    return key in _INDICES and bool(one and other and one.isdigit() and other.isdigit() and int(one) == int(other))


def as_spelled(path: Path) -> Path:
    """The path, or the file beside it whose name differs in how it writes an index alone: run-1 for run-01."""
    entities, suffix, extension = parse(path.name)
    if path.is_file() or not set(entities) & _INDICES:
        return path
    for other in sorted(path.parent.glob(f"*_{glob.escape(suffix + extension)}")):
        own = parse(other.name)[0]
        if own.keys() == entities.keys() and all(same_entity(key, own[key], value) for key, value in entities.items()):
            return other
    return path


def parse(name: str) -> tuple[dict[str, str], str, str]:
    """Entities, suffix and extension of a file name.

    Parts without a dash are entities without a value, so that names that are no BIDS compare too.

    Examples
    --------
    >>> parse("sub-01_task-rest_eeg.vhdr")
    ({'subject': '01', 'task': 'rest'}, 'eeg', '.vhdr')
    """
    stem, dot, extension = name.partition(".")
    *parts, suffix = stem.split("_")
    if "-" in suffix:  # no suffix, as in sub-01_ses-1.npz
        parts, suffix = [*parts, suffix], ""
    entities = {}
    for part in parts:
        key, _, value = part.partition("-")
        entities[ENTITY_NAMES.get(key, key)] = value
    return entities, suffix, dot + extension.lower()


def shown(name: str) -> str:
    """A name as text that can be printed: another one where it holds bytes that no text, nor a corpus, can hold."""
    return name.encode("utf-8", "backslashreplace").decode()
