"""File names -> formats, by `formats.yaml`; the readers import what they need only when they are called."""

from __future__ import annotations

import difflib
import re
from glob import escape
from pathlib import Path

from ..errors import ReadError, nearest
from ..schema import read_yaml

_TABLE = read_yaml(Path(__file__).with_suffix(".yaml"))
#: suffix -> format name
FORMATS: dict[str, str] = {suffix: name for name, suffixes in _TABLE["formats"].items() for suffix in suffixes}
_PARTNERS: dict[str, list[str]] = _TABLE["partners"]
#: suffix -> what it is, and the way out
_OTHERS: dict[str, tuple[str, str]] = {suffix: (what, fix) for what, fix, *ends in _TABLE["others"] for suffix in ends}
#: what tells a folder that brainof wrote -> what reads it; any other folder may be a dataset
_FOLDERS: dict[str, str] = _TABLE["folders"]

#: formats of fMRI alone -> what their files are called
FMRI_FORMATS = {"nifti": "NIfTI image", "cifti": "CIFTI file", "gifti": "GIFTI file"}

#: suffixes of headers that name the files of data and markers
_TEXT_HEADERS = (".vhdr", ".ahdr", ".lay")

_TABLES = ("npz", "npy", "mat", "hdf5", "csv", "tsv", "txt")


def first_part(path: Path) -> Path | None:
    """The first part of a split FIF file, with which this later one is read: x.fif of x-1.fif, split-01 of split-02."""
    names = [re.sub(r"-\d+(?=\.fif(?:\.gz)?$)", "", path.name)]
    if (found := re.search(r"_split-(\d+)_.*\.fif", path.name)) and int(found[1]) > 1:
        names.append(path.name.replace(f"_split-{found[1]}_", f"_split-{'1'.rjust(len(found[1]), '0')}_"))
    parts = (path.with_name(name) for name in names if name != path.name)
    return next((part for part in parts if part.exists()), None)


def parts_of(path: Path) -> list[Path]:
    """The other files of a recording, there or not: by their names, and those that a header of text names."""
    own = suffix_of(path)
    heads = [own, *_PARTNERS.get(own, ())]
    ends = [*heads[1:], *(end for end, opened in _PARTNERS.items() if set(opened) & set(heads))]
    parts = [path.with_suffix(spelled) for end in ends for spelled in (end, end.upper())]
    if own.startswith(".fif"):
        name = escape(path.name)
        later = re.sub(r"(?=\.fif(?:\.gz)?$)", "-*", name), re.sub(r"_split-\d+_", "_split-*_", name)
        found = {part for pattern in later for part in path.parent.glob(pattern)}
        parts += sorted(part for part in found if first_part(part) == path)
    if path.name.lower().startswith("c,rf"):
        parts += [path.with_name("config"), path.with_name("hs_file")]
    headers = [part for part in (path, *parts) if part.suffix.lower() in _TEXT_HEADERS and part.is_file()]
    if headers:
        from .vendor_headers import named_files

        parts += [path.parent / name.replace("\\", "/") for header in headers for name in named_files(header)]
    return parts


def reader_module(format_name: str) -> str:
    """The module of this package that reads a format."""
    if format_name in FMRI_FORMATS:
        return format_name
    return "table" if format_name in _TABLES else "mne_reader"


def format_of(path: Path) -> tuple[Path, str]:
    """The file to open (a partner gives way to its header file) and its format; ReadError where either is unknown."""
    try:
        there = path.exists()
    except OSError as error:
        raise ReadError(f"cannot be opened ({error.strerror})", file=path, fix="check the path") from None
    if not there:
        if path.is_symlink():
            fix = "`datalad get` or `git annex get` it"
            raise ReadError("is a link to data that is not downloaded", file=path, fix=fix)
        raise missing(path)
    suffix = suffix_of(path)
    for partner in _PARTNERS.get(suffix, ()):
        if path.with_suffix(partner).is_file():
            return format_of(path.with_suffix(partner))
    if path.name.lower().startswith("c,rf"):  # BTi/4D has no suffix
        return path, "bti"
    if suffix in _OTHERS and not (path.is_dir() and FORMATS.get(suffix)):
        raise ReadError(f"is {_OTHERS[suffix][0]}", file=path, field="format", fix=_OTHERS[suffix][1])
    if suffix in _PARTNERS and suffix not in FORMATS:
        problem = f"belongs to a {' or '.join(_PARTNERS[suffix])} file, which is not beside it"
        raise ReadError(problem, file=path, field="format", fix="copy all files of the recording")
    if path.is_dir() and suffix not in FORMATS:
        known = (words for name, words in _FOLDERS.items() if (path / name).exists())
        raise ReadError("is a folder, not a recording", file=path, fix=next(known))
    if suffix not in FORMATS:
        what = f"unknown format {suffix!r}" if suffix else "the name has no suffix that tells the format"
        close = difflib.get_close_matches(suffix, FORMATS, n=1, cutoff=0.75)  # .md is no slip of .ds
        fix = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(FORMATS))}"
        raise ReadError(what, file=path, field="format", fix=fix)
    if path.is_dir() and FORMATS[suffix] not in ("ctf", "egi"):
        raise ReadError("is a folder, not a file", file=path, field="format")
    return path, FORMATS[suffix]


def missing(path: Path) -> ReadError:
    """The error for a file that is not there, with the nearest name of its folder."""
    folder = path.parent
    if not folder.is_dir():
        return ReadError("file not found", file=path, fix=f"there is no folder {folder}")
    near = nearest(path.name, [entry.name for entry in folder.iterdir()])
    return ReadError("file not found", file=path, fix=f"did you mean {near!r}?" if near else None)


def suffix_of(path: Path) -> str:
    """The lower-case suffix, with `.gz` and what stands before it."""
    name = path.name.lower()
    double = next((suffix for suffix in FORMATS if suffix.count(".") == 2 and name.endswith(suffix)), None)
    return double or Path(name.removesuffix(".gz")).suffix + ".gz" * name.endswith(".gz")
