"""File names -> formats. One line per format; the readers import what they need only when they are called."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from ..errors import ReadError, nearest

#: suffix -> format name
FORMATS: dict[str, str] = {
    ".edf": "edf",
    ".bdf": "bdf",
    ".gdf": "gdf",
    ".vhdr": "brainvision",
    ".ahdr": "brainvision",
    ".set": "eeglab",
    ".fif": "fif",
    ".fif.gz": "fif",
    ".ds": "ctf",
    ".sqd": "kit",
    ".con": "kit",
    ".mff": "egi",
    ".raw": "egi",
    ".cnt": "cnt",
    ".eeg": "nihon",
    ".lay": "persyst",
    ".cdt": "curry",
    ".dtseries.nii": "cifti",
    ".ptseries.nii": "cifti",
    ".func.gii": "gifti",
    ".gii": "gifti",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".npz": "npz",
    ".npy": "npy",
    ".mat": "mat",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
    ".1d": "txt",
}

#: formats of fMRI alone -> what their files are called
FMRI_FORMATS = {"nifti": "NIfTI image", "cifti": "CIFTI file", "gifti": "GIFTI file"}

_TABLES = ("npz", "npy", "mat", "hdf5", "csv", "tsv", "txt")

#: files that belong to another file of the same name, which is opened instead
_PARTNERS = {
    ".eeg": (".vhdr", ".ahdr"),
    ".vmrk": (".vhdr",),
    ".amrk": (".ahdr",),
    ".dat": (".vhdr", ".lay"),
    ".fdt": (".set",),
    **dict.fromkeys((".pnt", ".21e", ".log"), (".eeg",)),
}


_TO_NIFTI, _TO_EDF = "convert it to .nii.gz", "export it as EDF or BrainVision"

#: formats of neighbours that are not read -> what they are, and the way out
_OTHERS = {
    **dict.fromkeys((".hdr", ".img"), ("one half of an image pair (Analyze or NIfTI)", _TO_NIFTI)),
    **dict.fromkeys((".mgz", ".mgh"), ("an image of FreeSurfer", _TO_NIFTI)),
    **dict.fromkeys((".head", ".brik", ".brik.gz"), ("an image of AFNI", _TO_NIFTI)),
    **dict.fromkeys((".par", ".rec"), ("an image of Philips", _TO_NIFTI)),
    ".mnc": ("an image of MINC", _TO_NIFTI),
    **dict.fromkeys((".dap", ".rs3", ".dpa", ".dpo"), ("a part of a Curry recording", _TO_EDF)),
    ".trc": ("a recording of Micromed", _TO_EDF),
    ".e": ("a recording of Nicolet", _TO_EDF),
    ".acq": ("a recording of BIOPAC", _TO_EDF),
    ".smr": ("a recording of Spike2", _TO_EDF),
    ".xdf": ("a recording of LabStreamingLayer", "convert it to FIF or EDF, such as with pyxdf and MNE"),
    ".nwb": ("a file of Neurodata Without Borders", "convert it to FIF or EDF, such as with neo and MNE"),
    ".snirf": ("a recording of near-infrared light", "give EEG, MEG or fMRI"),
    ".dcm": ("a DICOM image", "convert it to .nii.gz, such as with dcm2niix"),
    **dict.fromkeys((".zip", ".edf.gz", ".bdf.gz", ".tar", ".tar.gz", ".7z", ".rar"), ("packed", "unpack it first")),
}


def is_later_part(path: Path) -> bool:
    """True for the second and later parts of a FIF file that MNE split (`x-1.fif`), which are read with the first."""
    found = re.fullmatch(r"(.+)-\d+(\.fif(?:\.gz)?)", path.name)
    return found is not None and path.with_name(found[1] + found[2]).exists()


def reader_module(format_name: str) -> str:
    """The module of this package that reads a format."""
    if format_name in FMRI_FORMATS:
        return format_name
    return "table" if format_name in _TABLES else "mne_reader"


def format_of(path: Path) -> tuple[Path, str]:
    """The file to open (a partner is replaced by its header file) and its format.

    Raises ReadError: the file is missing (the nearest name is suggested) or its suffix is not known.
    """
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
        for other in (path.with_suffix(partner), path.with_suffix(partner.upper())):
            if other.is_file():
                return format_of(other)
    if path.name.lower().startswith("c,rf"):  # BTi/4D has no suffix
        return path, "bti"
    if suffix == ".rec" and path.is_file():  # EDF, too, ends in .rec (sleep recordings)
        with path.open("rb") as stream:
            if stream.read(8) == b"0       ":
                return path, "edf"
    if suffix in _OTHERS and not (path.is_dir() and FORMATS.get(suffix)):
        raise ReadError(f"is {_OTHERS[suffix][0]}", file=path, field="format", fix=_OTHERS[suffix][1])
    if suffix in _PARTNERS and suffix not in FORMATS:
        problem = f"belongs to a {' or '.join(_PARTNERS[suffix])} file, which is not beside it"
        raise ReadError(problem, file=path, field="format", fix="copy all files of the recording")
    if path.is_dir() and suffix not in FORMATS:
        fix = "`brainof index` lists what a BIDS dataset holds, `brainof prepare RECIPE --root` reads a dataset"
        raise ReadError("is a folder, not a recording", file=path, fix=fix)
    if suffix not in FORMATS:
        what = f"unknown format {suffix!r}" if suffix else "no suffix tells the format"
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
    if double is not None:
        return double
    inner = Path(name.removesuffix(".gz")).suffix
    return inner + ".gz" if name.endswith(".gz") else inner
