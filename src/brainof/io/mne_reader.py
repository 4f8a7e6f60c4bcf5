"""EEG and MEG files -> Recording, through MNE-Python."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os.path import abspath, realpath
from pathlib import Path
from typing import Any

from ..errors import BrainOFError, ReadError
from ..recording import Recording
from ..utils.optional import optional
from .bids.apply import channel_table, with_states, with_types, without_serial
from .bids.kit import kit_digitisation
from .checks import check_size
from .edf_annotations import read_annotations
from .edf_header import EdfHeader, EdfSignal, is_body_unit, read_edf_header, volts_per_unit
from .events import BOUNDARY
from .mat5 import check_mat5
from .mne_convert import recording_of_raw
from .names import chosen_type, kept, kind_of_name, renamed, unique
from .options import ReadOptions
from .request import ReadRequest
from .vendor_headers import check_curry, check_egi, check_gdf, check_mff, where_fif_ends

#: format name -> (function of mne.io, arguments)
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "edf": ("read_raw_edf", {}),
    "bdf": ("read_raw_bdf", {}),
    "gdf": ("read_raw_gdf", {}),
    "brainvision": ("read_raw_brainvision", {}),
    "eeglab": ("read_raw_eeglab", {}),
    "fif": ("read_raw_fif", {}),
    "ctf": ("read_raw_ctf", {"clean_names": True}),
    "kit": ("read_raw_kit", {}),
    "bti": ("read_raw_bti", {}),
    "egi": ("read_raw_egi", {"events_as_annotations": True}),
    "cnt": ("read_raw_cnt", {}),
    "nihon": ("read_raw_nihon", {}),
    "persyst": ("read_raw_persyst", {}),
    "curry": ("read_raw_curry", {}),
}

#: formats whose samples take at least a byte each
_PLAIN_BINARY = ("gdf", "cnt", "nihon", "persyst", "kit", "bti", "ctf", "brainvision")

#: warnings of MNE that say nothing about the recording
_IDLE_WARNINGS = (
    "naming conventions",
    "deprecat",
    "Limited",
    "Highpass cutoff",
    "filter",
    "not unique",
    "does not conform",
)


@dataclass
class Opened:
    """What opening a file tells beside the Raw itself; see `recording_of_raw`."""

    raw: Any
    notes: list[str] = field(default_factory=list)
    truncated: bool = False
    corrections: dict[str, float] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    at_once: bool = False
    names: list[str] = field(default_factory=list)
    """Names of all channels of the file, where the Raw holds only some."""
    without_unit: frozenset[str] = frozenset()
    """Channels whose unit is that of channels.tsv, as the file gives none."""
    options: ReadOptions | None = None
    """Options that are left to apply, where opening applied some."""
    annotations: tuple[Any, Any, Any] | None = None
    """Onsets (seconds from the first sample), durations and texts, where they are not those of the Raw."""


def read_mne(request: ReadRequest) -> Recording:
    """Read one EEG or MEG file.

    Raises
    ------
    ReadError
        MNE cannot read it, a check of the header fails, or a path inside the file leaves `root`.
    """
    path, format_name, options, root = request.path, request.format, request.options, request.root
    if request.modality == "fmri":
        raise ReadError(f"a {format_name} file holds no fMRI", file=path, field="modality")
    table = channel_table(request.sidecars, options)
    if table is not None:
        table = without_serial(table) if format_name == "ctf" else table
        options = with_types(options, table)
    with mne_calls(path) as said:
        units = table.units if table is not None else {}
        if format_name in ("edf", "bdf"):
            opened = _open_edf(path, format_name, options, units)
        elif format_name == "brainvision":
            opened = _open_brainvision(path, options, root)
        elif format_name == "gdf":
            opened = _open_gdf(path, options)
        else:
            opened = _open(request, options)
        _stay_inside(opened.raw, path, root)
        if format_name in _PLAIN_BINARY:
            _fits(opened.raw, path)
        if table is not None:
            table.compare(opened.names or opened.raw.ch_names)
        provenance = {
            "file": str(path),
            "format": format_name,
            "truncated": opened.truncated,
            "notes": opened.notes,
        }
        recording = recording_of_raw(
            opened.raw,
            modality=request.modality,
            options=opened.options or options,
            entities=request.entities,
            provenance=provenance,
            corrections=opened.corrections,
            stored=opened.stored,
            at_once=opened.at_once,
            annotations=opened.annotations,
        )
    if table is not None:
        units = {name: unit for name, unit in table.units.items() if name not in opened.without_unit}
        recording = with_states(recording, replace(table, units=units), opened.stored, options)
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
        except (BrainOFError, MemoryError):
            raise
        except PermissionError:
            raise
        except Exception as error:
            reason = _reason(error)
            fix = "the file is damaged or of another format"
            if "data_format" in reason:
                fix = "set data_format to int16 or int32"
            elif "MaxShield" in reason or "allow_maxshield" in reason:
                reason, fix = (
                    "recorded with active shielding (MaxShield)",
                    "clean it with Maxwell filtering first, or set allow_maxshield",
                )
            elif path.name.lower().endswith(".fif"):
                broken = where_fif_ends(path)
                reason = broken or reason
                fix = fix if broken else "does it hold something else than a recording (an average, a covariance)?"
            raise ReadError(f"cannot be read ({reason[:300]})", file=path, fix=fix) from error
    for warning in caught:
        line = " ".join(str(warning.message).split())[:200]
        if issubclass(warning.category, RuntimeWarning) and not any(word in line for word in _IDLE_WARNINGS):
            said.append(line)
    said[:] = list(dict.fromkeys(said))


def _open(request: ReadRequest, options: ReadOptions) -> Opened:
    import mne

    path, format_name = request.path, request.format
    notes: list[str] = []
    function, arguments = READERS[format_name]
    if format_name == "fif":
        arguments = {"allow_maxshield": "yes" if options.allow_maxshield else False}
    elif format_name == "bti":  # named in full: MNE looks for them in the working folder first
        shape = path.parent / "hs_file"
        arguments = {"config_fname": path.parent / "config", "head_shape_fname": shape if shape.exists() else None}
    elif format_name == "kit":
        arguments, notes = kit_digitisation(path, request.sidecars)
    elif format_name == "egi" and path.is_dir():
        optional("mffpy", "vendor", f"{path.name} (EGI .mff)")
        check_mff(path)
    elif format_name == "curry":
        optional("curryreader", "vendor", f"{path.name} (Curry)")
        check_curry(path)
    elif format_name == "eeglab":
        _check_set(path, options.max_bytes)
    elif format_name == "cnt":
        _check_maker(path, format_name)
        arguments = {"data_format": options.data_format or "auto"}
    elif format_name == "nihon":
        _check_maker(path, format_name)
    factor = check_egi(path) if format_name == "egi" and path.is_file() else 1.0
    if format_name == "fif" and path.name.lower().endswith(("-epo.fif", "_epo.fif", "-epo.fif.gz", "_epo.fif.gz")):
        return _open_epochs(mne.read_epochs(path, preload=False), path, options)
    try:
        raw = getattr(mne.io, function)(path, preload=False, **arguments)
    except TypeError as error:
        if "trials" not in str(error):
            raise
        return _open_epochs(mne.io.read_epochs_eeglab(path), path, options)
    stored = dict.fromkeys(raw.ch_names, 1e-6) if format_name == "eeglab" else {}
    return Opened(raw, notes, stored=stored, corrections=dict.fromkeys(raw.ch_names, factor) if factor != 1 else {})


def _open_epochs(epochs: Any, path: Path, options: ReadOptions) -> Opened:
    """Epochs one after the other, with a boundary between them and the event of each at its time."""
    import mne
    import numpy as np

    n_epochs, n_times, sfreq = len(epochs), len(epochs.times), float(epochs.info["sfreq"])
    check_size(float(n_epochs) * n_times * len(epochs.ch_names) * 8, options.max_bytes, path)
    data = epochs.get_data(copy=False)
    raw = mne.io.RawArray(data.transpose(1, 0, 2).reshape(len(epochs.ch_names), -1), epochs.info, verbose="error")
    starts = np.arange(n_epochs) * (n_times / sfreq)
    names = {code: name for name, code in epochs.event_id.items()}
    texts = [names.get(int(code), str(code)) for code in epochs.events[:, 2]]
    zero = -epochs.tmin if epochs.tmin <= 0 <= epochs.tmax else 0.0
    notes = [f"{n_epochs} epochs of {n_times / sfreq:g} s were joined; no window lies over two of them"]
    onsets = np.concatenate([starts + zero, starts[1:]])
    texts += [BOUNDARY] * (n_epochs - 1)
    return Opened(raw, notes, annotations=(onsets, np.zeros(len(onsets)), texts))


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


def _open_gdf(path: Path, options: ReadOptions) -> Opened:
    import mne

    header = check_gdf(path)
    names = unique([*header.stored, *header.unknown]) if not set(header.stored) & set(header.unknown) else []
    body = [name for name in names if kind_of_name(name) is not None and not chosen_type(name, options)]
    unknown = [name for name in header.unknown if name not in body and options.units is None]
    if unknown:
        field = f"unit of {unknown[0]}"
        raise ReadError(f"unknown unit {header.unknown[unknown[0]]!r}", file=path, field=field, fix="give units")
    raw = mne.io.read_raw_gdf(path, preload=False, exclude=header.flat)
    notes = [f"left out, their minimum equals their maximum in the header: {', '.join(header.flat)}"]
    return Opened(raw, notes if header.flat else [], corrections=header.corrections, stored=header.stored)


def _open_edf(path: Path, format_name: str, options: ReadOptions, units: Mapping[str, str]) -> Opened:
    """EDF and BDF with only the channels that are wanted, so that a fast ECG does not resample the EEG."""
    import mne

    header = read_edf_header(path)
    if all(signal.is_annotation for signal in header.signals):
        fix = "name it as events.file in a recipe, beside the recording"
        raise ReadError("empty recording: holds annotations only, no signal", file=path, field="signals", fix=fix)
    if not header.record_seconds and options.rate is None:
        raise ReadError("is 0: the sampling rate is unknown", file=path, field="record duration", fix="give sfreq")
    labels = unique([signal.label for signal in header.signals])
    signals = {label: signal for label, signal in zip(labels, header.signals, strict=True) if not signal.is_annotation}
    names = dict(zip(signals, renamed(list(signals), options, path), strict=True))
    factors = {label: _edf_factor_of_mne(signal.unit) for label, signal in signals.items()}
    blank = [label for label, signal in signals.items() if not signal.unit and label.strip() in units]
    signals |= {label: replace(signals[label], unit=units[label.strip()]) for label in blank}
    wanted, notes = _edf_channels(path, header, signals, names, options)
    if blank:
        notes.append(f"the file gives no unit for {len(blank)} channels: those of channels.tsv were taken")
    exclude = [label for label in signals if label not in wanted and label.lower() not in ("status", "trigger")]
    function = getattr(mne.io, READERS[format_name][0])
    raw = function(path, preload=False, exclude=exclude, exclude_after_unique=True, encoding="latin1")
    annotations = read_annotations(path, header)
    notes += annotations.notes if annotations else []
    raw.rename_channels({label: names[label] for label in raw.ch_names if label in names})
    stored = {names[label]: volts_per_unit(signals[label].unit) or 1.0 for label in wanted}
    rates = sorted({signals[label].rate for label in wanted})
    if len(rates) > 1:
        notes.append(
            f"channels of {', '.join(f'{rate:g}' for rate in rates)} Hz were brought to {rates[-1]:g} Hz by MNE"
        )
    return Opened(
        raw,
        notes=notes,
        truncated=header.truncated,
        corrections={names[label]: stored[names[label]] / factors[label] for label in wanted},
        stored={names[label]: factors[label] for label in wanted},
        at_once=len(rates) > 1,
        names=list(signals),
        without_unit=frozenset(label.strip() for label in blank),
        options=options.model_copy(update={"rename": {}, "channel_names": None}),
        annotations=(annotations.onsets, annotations.durations, annotations.texts) if annotations else None,
    )


def _edf_factor_of_mne(unit: str) -> float:
    """The factor MNE applies: it knows microvolts and millivolts and takes everything else for volts."""
    return {"uV": 1e-6, "mV": 1e-3}.get(
        unit.replace("\u03bc", "u").replace("\u00b5", "u").replace("\x83\xca", "u"), 1.0
    )


def _edf_channels(
    path: Path, header: EdfHeader, signals: dict[str, EdfSignal], names: dict[str, str], options: ReadOptions
) -> tuple[list[str], list[str]]:
    """Labels of the EEG channels that can be used, and notes on those that cannot."""
    notes = list(header.notes)
    wanted, other, ranges = [], [], []
    for label, signal in signals.items():
        told = chosen_type(names[label], options)
        kind = told or kind_of_name(names[label])
        if kind is not None and kind != "eeg":
            other.append(names[label])
        elif (
            told is None and options.units is None and volts_per_unit(signal.unit) is None and is_body_unit(signal.unit)
        ):
            other.append(f"{names[label]} [{signal.unit}]")
        elif not signal.has_range:
            ranges.append(names[label])
        else:
            wanted.append(label)
    if other:
        notes.append(f"left out, no EEG by name or unit: {', '.join(other)}")
    if ranges:
        notes.append(f"left out, their minimum equals their maximum in the header: {', '.join(ranges)}")
    if not wanted:
        raise ReadError("no EEG channel", file=path, field="channels", fix="give channel_types")
    wanted = [wanted[i] for i in kept([names[label] for label in wanted], options, path)]
    for label in wanted:
        if options.units is None and volts_per_unit(signals[label].unit) is None:
            raise ReadError(
                f"unknown unit {signals[label].unit!r}", file=path, field=f"unit of {names[label]}", fix="give units"
            )
    return wanted, notes


def _open_brainvision(path: Path, options: ReadOptions, root: Path) -> Opened:
    import mne

    from .brainvision_header import channel_units, check_brainvision

    truncated, notes = check_brainvision(path, root)
    raw = mne.io.read_raw_brainvision(path, preload=False)
    units = {name: unit for name, unit in channel_units(path).items() if name in raw.ch_names}
    own = renamed(list(units), options, path)
    left = {list(units)[i] for i in kept(own, options, path)}  # what is dropped needs no unit
    unknown = [
        (name, unit)
        for name, unit in units.items()
        if name in left and volts_per_unit(unit) is None and not is_body_unit(unit) and kind_of_name(name) is None
    ]
    if unknown and options.units is None and not any(chosen_type(name, options) for name, _ in unknown):
        name, unit = unknown[0]
        raise ReadError(f"unknown unit {unit!r}", file=path, field=f"unit of {name}", fix="give units")
    raw.set_channel_types({name: "eeg" for name, _ in unknown}, on_unit_change="ignore")
    stored = {name: volts_per_unit(unit) or 1.0 for name, unit in units.items()}
    return Opened(raw, notes=notes, truncated=truncated, stored=stored)


def _fits(raw: Any, path: Path) -> None:
    """A header must not announce more samples than the files have bytes."""
    there = sum(Path(name).stat().st_size for name in raw.filenames if name is not None and Path(name).is_file())
    brain = sum(kind in ("eeg", "mag", "grad") for kind in raw.get_channel_types())
    if there and brain * raw.n_times > there:
        raise ReadError(
            f"header announces {brain} channels x {raw.n_times} samples, the data file has {there} bytes",
            file=path,
            field="size",
            fix="the file is cut or its header is damaged",
        )


def _stay_inside(raw: Any, path: Path, root: Path) -> None:
    """Data files named inside a file must lie below the root; links of the file system are the user's own choice."""
    roots = {Path(abspath(root)), Path(realpath(root)), Path(abspath(path.parent)), Path(realpath(path.parent))}
    for filename in raw.filenames:
        if filename is None:
            continue
        lies = Path(abspath(filename))
        if not any(lies.is_relative_to(inside) for inside in roots) and Path(realpath(filename)) != Path(
            realpath(path)
        ):
            raise ReadError(
                f"points to {lies}, outside {root}", file=path, field="data file", fix="keep data below the root"
            )
