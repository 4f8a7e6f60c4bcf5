"""EEG and MEG files -> Recording, through MNE-Python."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from os.path import abspath, realpath
from pathlib import Path
from typing import Any

from ..errors import BrainOFError, ReadError
from ..recording import Recording
from .bids.apply import channel_table, with_states, with_types, without_serial
from .mne_convert import recording_of_raw
from .mne_edf import open_edf
from .mne_open import open_brainvision, open_gdf, open_raw
from .options import ReadRequest
from .vendor_headers import where_fif_ends

#: formats whose headers say what MNE does not know: how they are opened with the units of channels.tsv
_OPENERS = {"edf": open_edf, "bdf": open_edf, "brainvision": open_brainvision, "gdf": open_gdf}

#: formats whose samples take at least a byte each
_PLAIN_BINARY = ("gdf", "cnt", "nihon", "persyst", "kit", "bti", "ctf", "brainvision")

#: formats of which MNE knows the ending in lower case alone
_LOWER_CASE = ("brainvision", "eeglab", "persyst", "egi")

#: warnings of MNE that say nothing about the recording
_IDLE_WARNINGS = re.compile("naming conventions|deprecat|Limited|Highpass cutoff|filter|not unique|does not conform")


def read_mne(request: ReadRequest) -> Recording:
    """Read one EEG or MEG file; paths inside it must not leave the root."""
    path, format_name = request.path, request.format
    table = channel_table(request.sidecars, request.options)
    if table is not None:
        table = without_serial(table) if format_name == "ctf" else table
        request = replace(request, options=with_types(request.options, table))
    options, units = request.options, table.units if table is not None else {}
    if format_name in _LOWER_CASE and not path.suffix.islower():
        name = path.stem + path.suffix.lower()
        raise ReadError("ends in upper case, which MNE does not know", file=path, field="format", fix=f"call it {name}")
    with mne_calls(path) as said:
        opened = _OPENERS.get(format_name, open_raw)(request, units)
        _stay_inside(opened.raw, path, request.root)
        if format_name in _PLAIN_BINARY:
            _fits(opened.raw, path)
        if table is not None:
            table.compare(opened.names or opened.raw.ch_names)
        asked: dict[str, Any] = {"modality": request.modality, "options": options, "entities": request.entities}
        recording = recording_of_raw(opened, **asked, file=str(path), format_name=format_name)
    if table is not None:
        recording = with_states(recording, table, opened.stored, options)
    return recording.noted(*(f"MNE: {line}" for line in said))


def _reason(error: Exception) -> str:
    """One line of an error; of a traceback that MNE put into its text, the last error alone."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("File ") for line in lines):
        lines = [line for line in lines if re.match(r"\w*(?:Error|Exception)\b", line)][-1:]
    return " ".join(" ".join(lines).split()) or type(error).__name__


@contextmanager
def mne_calls(path: Path) -> Iterator[list[str]]:
    """Turns failures of MNE into ReadErrors and collects its warnings as lines."""
    import mne

    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with mne.use_log_level("warning"):
                yield said
        except (BrainOFError, MemoryError, PermissionError):
            raise
        except Exception as error:
            reason = _reason(error)
            fix = "the file is damaged or of another format"
            if "data_format" in reason:
                fix = "give data_format='int16' or data_format='int32'"
            elif "MaxShield" in reason or "allow_maxshield" in reason:
                reason = "recorded with active shielding (MaxShield)"
                fix = "clean it with Maxwell filtering first, or read it as it is with allow_maxshield=True"
            elif path.name.lower().endswith(".fif"):
                broken = where_fif_ends(path)
                reason = broken or reason
                fix = fix if broken else "does it hold something else than a recording (an average, a covariance)?"
            raise ReadError(f"cannot be read ({reason[:300]})", file=path, fix=fix) from error
    for warning in caught:
        line = " ".join(str(warning.message).split())[:200]
        if issubclass(warning.category, RuntimeWarning) and not _IDLE_WARNINGS.search(line):
            said.append(line)
    said[:] = list(dict.fromkeys(said))


def _fits(raw: Any, path: Path) -> None:
    """A header must not announce more samples than the files have bytes."""
    there = sum(Path(name).stat().st_size for name in raw.filenames if name is not None and Path(name).is_file())
    brain = sum(kind in ("eeg", "mag", "grad") for kind in raw.get_channel_types())
    if there and brain * raw.n_times > there:
        problem = f"header announces {brain} channels x {raw.n_times} samples, the data file has {there} bytes"
        raise ReadError(problem, file=path, field="size", fix="the file is cut or its header is damaged")


def _stay_inside(raw: Any, path: Path, root: Path) -> None:
    """Data files named inside a file must lie below the root; links of the file system are the user's own choice."""
    roots = {Path(abspath(root)), Path(realpath(root)), Path(abspath(path.parent)), Path(realpath(path.parent))}
    for filename in filter(None, raw.filenames):
        lies = Path(abspath(filename))
        if not any(lies.is_relative_to(inside) for inside in roots) and realpath(filename) != realpath(path):
            fix = "keep data below the root"
            raise ReadError(f"points to {lies}, outside {root}", file=path, field="data file", fix=fix)
