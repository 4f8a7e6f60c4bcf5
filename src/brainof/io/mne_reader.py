"""EEG and MEG files -> Recording, through MNE-Python: the checks before it, and what MNE does not tell of a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os.path import abspath, realpath
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BrainOFError, ReadError
from ..recording import Recording
from ..utils.optional import optional
from ..utils.values import counted
from . import vendor_headers as vendor
from .bids.apply import channel_table, with_states, with_types
from .checks import check_gzip, check_hdf5, check_size
from .edf import open_edf
from .events import BOUNDARY, events_table
from .formats import first_part
from .mat5 import check_mat5
from .mne_convert import Opened, opened_in_volts, recording_of_raw
from .names import chosen_type, kept, kind_of_name, renamed
from .options import ReadOptions, ReadRequest
from .units import factor_to_si, filled_units, is_body_unit, unknown_unit

#: formats whose samples take at least a byte each
_PLAIN_BINARY = ("gdf", "cnt", "nihon", "persyst", "kit", "bti", "ctf", "brainvision")
#: formats of which MNE knows the ending in lower case alone
_LOWER_CASE = ("brainvision", "eeglab", "persyst", "egi")
#: formats of one unit, which no field of the file says
_IN_MICROVOLTS = ("eeglab", "cnt", "nihon", "persyst", "egi")
#: samples by which a clock may be off from one sample to the next
_CLOCK_TOLERANCE = 1.0
#: warnings of MNE that say nothing about the recording
_IDLE_WARNINGS = re.compile("naming conventions|deprecat|Limited|Highpass cutoff|filter|not unique|does not conform")


def read_mne(request: ReadRequest) -> Recording:
    """Read one EEG or MEG file; paths inside it must not leave the root."""
    path, format_name = request.path, request.format
    table = channel_table(request)
    if format_name in _LOWER_CASE and not path.suffix.islower():
        name = path.stem + path.suffix.lower()
        raise ReadError("ends in upper case, which MNE does not know", file=path, field="format", fix=f"call it {name}")
    if table is not None:
        request = replace(request, options=with_types(request.options, table))
    openers = {"edf": open_edf, "bdf": open_edf, "brainvision": _open_brainvision, "gdf": _open_gdf}
    with mne_calls(path) as said:
        opened = openers.get(format_name, _open_raw)(request, table.units if table is not None else {})
        _stay_inside(opened.raw, path, request.root)
        if format_name in _PLAIN_BINARY:
            _fits(opened.raw, path)
        if table is not None:
            table.compare(opened.names or opened.raw.ch_names)
        asked: dict[str, Any] = {"modality": request.modality, "options": request.options, "entities": request.entities}
        recording = recording_of_raw(opened, **asked, file=str(path), format_name=format_name)
    if table is not None:
        recording = with_states(recording, table, opened.stored, request.options)
    return recording.noted(*(f"MNE: {line}" for line in said))


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
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            if any(line.startswith("File ") for line in lines):  # a traceback in the text: its last error alone
                lines = [line for line in lines if re.match(r"\w*(?:Error|Exception)\b", line)][-1:]
            reason = " ".join(" ".join(lines).split()) or type(error).__name__
            fix = "the file is damaged or of another format"
            if "data_format" in reason:
                fix = "give data_format='int16' or data_format='int32'"
            elif "MaxShield" in reason or "allow_maxshield" in reason:
                reason = "recorded with active shielding (MaxShield)"
                fix = "clean it with Maxwell filtering first, or read it as it is with allow_maxshield=True"
            elif path.name.lower().endswith(".fif"):
                broken = vendor.where_fif_ends(path)
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


def _open_raw(request: ReadRequest, _units: Mapping[str, str]) -> Opened:
    """Any format without a function of its own."""
    import mne

    path, format_name, options = request.path, request.format, request.options
    factor, arguments = 1.0, dict[str, Any]()
    if format_name == "fif":
        name = path.name.lower()
        if re.search(r"[-_]epo-\d+\.fif", name) and (first := first_part(path)) is not None:
            raise ReadError(f"is a later part of {first.name}", file=path, fix=f"read {first.name}")
        if path.suffix.lower() == ".gz":
            check_gzip(path)
        if name.endswith(("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")):
            return _open_epochs(mne.read_epochs(path, preload=False), path, options)
        arguments = {"allow_maxshield": "yes" if options.allow_maxshield else False}
    elif format_name == "bti":  # named in full: MNE looks for them in the working folder first
        shape = path.parent / "hs_file"
        arguments = {"config_fname": path.parent / "config", "head_shape_fname": shape if shape.exists() else None}
    elif format_name == "ctf":
        arguments = {"clean_names": True}
    elif format_name == "egi":
        arguments = {"events_as_annotations": True}
        if path.is_dir():
            optional("mffpy", "vendor", f"{path.name} (EGI .mff)")
            vendor.check_mff(path)
        else:
            factor = vendor.check_egi(path)
    elif format_name == "curry":
        optional("curryreader", "vendor", f"{path.name} (Curry)")
        vendor.check_curry(path)
    elif format_name == "persyst":
        vendor.check_persyst(path)
    elif format_name == "eeglab":
        _check_set(path, options.max_bytes)
    elif format_name in ("cnt", "nihon"):
        _check_maker(path, format_name)
        arguments = {"data_format": options.data_format or "auto"} if format_name == "cnt" else {}
    try:
        raw = getattr(mne.io, f"read_raw_{format_name}")(path, preload=False, **arguments)
    except TypeError as error:
        if "trials" not in str(error):
            raise
        raw = mne.io.read_epochs_eeglab(path)
    if isinstance(raw, mne.BaseEpochs):  # of EEGLAB, or trials of Curry
        return _open_epochs(raw, path, options)
    for part in map(Path, filter(None, raw.filenames[1:])):  # of a FIF file that MNE split
        if part.suffix.lower() == ".gz":
            check_gzip(part)
    opened = Opened(raw, corrections=dict.fromkeys(raw.ch_names, factor) if factor != 1 else {})
    if format_name in _IN_MICROVOLTS:
        opened.stored = dict.fromkeys(raw.ch_names, 1e-6)
    if format_name == "curry":  # MNE knows uV and fT alone
        stored = {name: factor_to_si(unit) for name, unit in raw._orig_units.items()}
        opened.stored = {name: factor for name, factor in stored.items() if factor is not None}
        opened.corrections = {name: factor for name, factor in opened.stored.items() if factor != 1e-6}
    elif format_name == "persyst":
        opened.pauses = vendor.persyst_pauses(path, raw.info["sfreq"])
    elif format_name == "ctf":
        opened.pauses = _clock_jumps(raw)
    return opened


def _clock_jumps(raw: Any) -> np.ndarray:
    """Samples before which the system clock of a CTF recording (seconds) jumped: a new trial, after a pause."""
    if "SCLK01" not in raw.ch_names:
        return np.array([], dtype=int)
    steps = np.diff(raw.get_data(picks=["SCLK01"])[0]) * raw.info["sfreq"]
    return np.flatnonzero(np.abs(steps - 1) > _CLOCK_TOLERANCE) + 1


def _open_epochs(epochs: Any, path: Path, options: ReadOptions) -> Opened:
    """Epochs one after the other, with a boundary between them and the event of each at its time."""
    import mne

    n_times, sfreq = len(epochs.times), float(epochs.info["sfreq"])
    check_size(float(len(epochs.events)) * n_times * len(epochs.ch_names) * 8, options.max_bytes, path)
    data = epochs.get_data(copy=False)
    n_epochs = len(data)
    raw = mne.io.RawArray(data.transpose(1, 0, 2).reshape(len(epochs.ch_names), -1), epochs.info, verbose="error")
    starts = np.arange(n_epochs) * (n_times / sfreq)
    names = {code: name for name, code in epochs.event_id.items()}
    texts = [names.get(int(code), str(code)) for code in epochs.events[:, 2]]
    zero = -epochs.tmin if epochs.tmin <= 0 <= epochs.tmax else 0.0
    notes = [f"{counted(n_epochs, 'epoch')} of {n_times / sfreq:g} s joined; no window lies over two of them"]
    onsets = np.concatenate([starts + zero, starts[1:]])
    texts += [BOUNDARY] * (n_epochs - 1)
    return Opened(raw, notes, annotations=events_table(onsets, np.zeros(len(onsets)), texts))


def _check_set(path: Path, max_bytes: int) -> None:
    """Refuse a damaged .set, or one that is larger than allowed once read."""
    import h5py

    with path.open("rb") as stream:
        stream.seek(512)  # behind the text of version 7.3
        if stream.read(8) != b"\x89HDF\r\n\x1a\n":
            check_mat5(path, max_bytes)
            return
    sizes = []
    with h5py.File(path, "r") as file:
        check_hdf5(file, path)
        file.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    check_size(sum(sizes), max_bytes, path)


def _check_maker(path: Path, format_name: str) -> None:
    """Refuse files of other makers that end alike."""
    with path.open("rb") as stream:
        begin = stream.read(4)
    if begin in (b"RIFF", b"RF64"):
        fix = "export it as EDF or BrainVision"
        raise ReadError("is a recording of ANT Neuro (eego)", file=path, field="format", fix=fix)
    if format_name == "nihon" and begin and begin != b"EEG-":
        fix = "a BrainVision recording needs its .vhdr beside it; export others as EDF or BrainVision"
        raise ReadError("is not a recording of Nihon Kohden", file=path, field="format", fix=fix)


def _open_gdf(request: ReadRequest, table: Mapping[str, str]) -> Opened:
    """GDF, whose units MNE knows only in part."""
    import mne

    path, options = request.path, request.options
    of_file, of_mne, flat = vendor.check_gdf(path)
    units, notes = filled_units(of_file, table)
    for name, unit in units.items():
        is_body = kind_of_name(name) is not None and not chosen_type(name, options)
        if factor_to_si(unit) is None and not is_body and options.units is None:
            raise unknown_unit(name, unit, path)
    raw = mne.io.read_raw_gdf(path, preload=False, exclude=flat)
    if flat:
        notes.append(f"left out, their minimum equals their maximum in the header: {', '.join(flat)}")
    return opened_in_volts(raw, units, of_mne, notes=notes)


def _open_brainvision(request: ReadRequest, table: Mapping[str, str]) -> Opened:
    """BrainVision, whose channels of unknown unit MNE takes for no EEG."""
    import mne

    path, options = request.path, request.options
    cut = vendor.check_brainvision(path, request.root)
    with vendor.markers_in_utf8(path) as (overrides, more):
        raw = mne.io.read_raw_brainvision(path, preload=False, **overrides)
    in_file = {name: unit for name, unit in vendor.channel_units(path) if name in raw.ch_names}
    units, of_table = filled_units(in_file, table)
    own = renamed(list(units), options, path)
    left = {list(units)[i] for i in kept(own, options, path)}  # what is dropped needs no unit
    unclear = {name: unit for name, unit in units.items() if name in left and factor_to_si(unit) is None}
    unknown = [name for name, unit in unclear.items() if not is_body_unit(unit) and kind_of_name(name) is None]
    if unknown and options.units is None and not any(chosen_type(name, options) for name in unknown):
        raise unknown_unit(unknown[0], units[unknown[0]], path)
    blank = [name for name, unit in in_file.items() if unit != units[name]]
    raw.set_channel_types(dict.fromkeys([*unknown, *blank], "eeg"), on_unit_change="ignore")
    of_mne = {name: factor_to_si(unit) or 1.0 for name, unit in in_file.items()}
    return opened_in_volts(raw, units, of_mne, notes=[*cut, *more, *of_table], truncated=bool(cut))
