"""EEG and MEG files -> Recording, through MNE-Python."""

from __future__ import annotations

import re
import tempfile
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

#: formats of which MNE compares the ending
_PARTICULAR = ("brainvision", "eeglab", "persyst", "egi")
#: endings that MNE does not know -> what it calls them
_ENDINGS = {".rec": ".edf"}

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
    with lower_case(path, format_name) as link, mne_calls(link) as said:
        opened = _OPENERS.get(format_name, open_raw)(replace(request, path=link), units)
        _stay_inside(opened.raw, link, request.root)
        if format_name in _PLAIN_BINARY:
            _fits(opened.raw, path)
        if table is not None:
            table.compare(opened.names or opened.raw.ch_names)
        asked: dict[str, Any] = {"modality": request.modality, "options": options, "entities": request.entities}
        recording = recording_of_raw(opened, **asked, file=str(path), format_name=format_name)
    if table is not None:
        units = {name: unit for name, unit in table.units.items() if name not in opened.without_unit}
        recording = with_states(recording, replace(table, units=units), opened.stored, options)
    return recording.noted(*(f"MNE: {line}" for line in said))


@contextmanager
def lower_case(path: Path, format_name: str) -> Iterator[Path]:
    """The path, or a link to it in a folder where all files end in lower case, too; errors name the file itself."""
    parts = []
    if path.suffix.lower() in _ENDINGS:
        parts = [path]
    elif format_name in _PARTICULAR:
        parts = [other for other in path.parent.iterdir() if other.stem.lower() == path.stem.lower()]
    if all(_ending(other) == other.suffix for other in parts):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for other in parts:
            for name in {other.name, other.stem + _ending(other), path.stem + _ending(other)}:
                (Path(folder) / name).symlink_to(other.absolute())
        try:
            yield Path(folder) / (path.stem + _ending(path))
        except BrainOFError as error:
            if error.file is None or Path(error.file).parent != Path(folder):
                raise
            own = path.parent / Path(error.file).name if Path(error.file).stem != path.stem else path
            raise type(error)(error.problem, file=own, field=error.field, fix=error.fix) from None


def _ending(path: Path) -> str:
    return _ENDINGS.get(path.suffix.lower(), path.suffix.lower())


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
