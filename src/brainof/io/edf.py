"""EDF and BDF: the header, checked before any reader takes memory, the annotations, and opening with MNE.

MNE accepts records of zero length, unknown units, empty ranges and files that were cut (with a warning or with none);
the checks here are what it leaves out. It refuses annotations that are not UTF-8, joins the records of discontinuous
files (EDF+D) over pauses and drops the events after them. Layout: Kemp et al. 1992, https://www.edfplus.info.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..channels import SENSOR_TYPES
from ..errors import ReadError
from ..utils.values import counted
from .events import BOUNDARY, events_table
from .mne_convert import Opened, opened_in_volts
from .names import chosen_type, drops_of_nothing, kept, kind_of_name, renamed, unique
from .options import ReadOptions, ReadRequest
from .units import factor_to_si, filled_units, is_body_unit, unknown_unit

#: bytes per signal: label, transducer, unit, physical and digital limits, filter, samples
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8)
#: onset, duration, texts of a time-stamped annotation list
_TAL = re.compile(rb"([+-]\d+\.?\d*)(?:\x15(\d*\.?\d*))?\x14([^\x00]*?)\x14?\x00")
#: seconds by which the written start of a record may differ from the end of the one before
_TOLERANCE = 1e-3
#: units that MNE knows; it takes everything else for volts
_KNOWN_TO_MNE = dict.fromkeys(("uV", "\u03bcV", "\u00b5V", "\x83\xcaV"), 1e-6) | {"mV": 1e-3}


@dataclass(frozen=True)
class EdfSignal:
    """One signal of the header."""

    label: str
    unit: str
    has_range: bool  # False where physical or digital minimum equals maximum: the scale is undefined
    samples: int  # Per record
    rate: float  # Samples per second; 0 where the record length is 0

    @property
    def is_annotation(self) -> bool:
        return self.label in ("EDF Annotations", "BDF Annotations")


@dataclass(frozen=True)
class EdfHeader:
    """What the header says, and what the size of the file allows."""

    signals: tuple[EdfSignal, ...]
    record_seconds: float
    records_there: int
    truncated: bool
    notes: tuple[str, ...]
    data_start: int
    bytes_per_sample: int
    is_discontinuous: bool  # EDF+D or BDF+D: records may be apart in time


def read_edf_header(path: Path) -> EdfHeader:
    """The header of an EDF or BDF file; ReadError where a field is wrong, or no data record is complete."""
    size = path.stat().st_size
    if size == 0:
        raise ReadError("is empty (0 bytes)", file=path, fix="copy the file again")
    with path.open("rb") as stream:
        fixed = stream.read(256)
        if len(fixed) < 256:
            raise ReadError(f"has {size} bytes, less than an EDF header (256)", file=path, fix="copy the file again")
        n = int(_number(fixed[252:256], path, "number of signals"))
        if n <= 0:
            raise ReadError(f"header says {n} signals", file=path, field="number of signals")
        if 256 * (n + 1) > size:
            problem = f"header says {n} signals, whose header needs {256 * (n + 1)} bytes; the file has {size}"
            raise ReadError(problem, file=path, field="number of signals", fix="the header is damaged")
        table = stream.read(256 * n)
    record_seconds = _number(fixed[244:252], path, "record duration")
    if record_seconds < 0:
        raise ReadError(f"{record_seconds:g} s", file=path, field="record duration", fix="the header is damaged")
    columns = []
    for width in _WIDTHS:
        columns.append(np.frombuffer(table, f"S{width}", n).tolist())
        table = table[width * n :]
    signals = []
    for label, _, unit, *limits, _, samples in zip(*columns, strict=True):
        label, unit = (text.decode("latin-1").strip(" \0") for text in (label, unit))
        count = int(_number(samples, path, f"samples per record of {label}"))
        if count <= 0:
            raise ReadError(f"{count}", file=path, field=f"samples per record of {label}", fix="the header is damaged")
        words = ("minimum", "maximum") * 2
        numbers = [_number(text, path, f"{label} {word}") for text, word in zip(limits, words, strict=True)]
        has_range = numbers[0] != numbers[1] and numbers[2] != numbers[3]
        signals.append(EdfSignal(label, unit, has_range, count, count / record_seconds if record_seconds else 0.0))
    bytes_per_sample = 3 if fixed[0] == 0xFF else 2
    data_start = int(_number(fixed[184:192], path, "header size"))
    if data_start < 256:
        raise ReadError(f"{data_start} bytes", file=path, field="header size", fix="the header is damaged")
    said = int(_number(fixed[236:244], path, "number of records"))
    there = (size - data_start) // (bytes_per_sample * sum(signal.samples for signal in signals))
    if there <= 0:
        problem = "empty recording: no data record is complete"
        raise ReadError(problem, file=path, field="number of records", fix="copy it again")
    notes = []
    if said > there:
        notes.append(f"the file is cut: {there} of {said} data records are there")
    elif said < 0:
        notes.append(f"the header does not know the number of records ({said}); {there} were found")
    elif said < there:
        notes.append(f"the header says {said} records, the file holds {there}")
    labels = Counter(signal.label for signal in signals if not signal.is_annotation)
    if twice := [label for label, count in labels.items() if count > 1]:
        notes.append(f"channel names that occur twice were numbered: {', '.join(twice)}")
    apart = fixed[192:197] in (b"EDF+D", b"BDF+D")
    return EdfHeader(
        tuple(signals), record_seconds, there, said > there, tuple(notes), data_start, bytes_per_sample, apart
    )


def _number(text: bytes, path: Path, field: str) -> float:
    try:
        return float(text.decode("latin-1").strip(" \0").replace(",", "."))
    except ValueError:
        raise ReadError(f"{text!r} is not a number", file=path, field=field, fix="not an EDF or BDF file") from None


def read_annotations(path: Path, header: EdfHeader) -> tuple[pd.DataFrame | None, list[str]]:
    """Events table in seconds from the first sample that the file holds, and notes; None without such a signal.

    Texts that are not UTF-8 are read as Latin-1, with a note. In a discontinuous file an annotation lies at its place
    among the samples that are there; one that lies in a pause moves to the sample after it, and `BOUNDARY` is there.
    """
    records = _records(path, header)
    if records is None:
        return None, []
    rows: list[tuple[float, float, bytes]] = []
    starts = np.full(len(records), np.nan)
    for number, record in enumerate(records):
        for onset, duration, text in _TAL.findall(record):
            parts = text.split(b"\x14")
            if parts[0] == b"" and np.isnan(starts[number]):  # the first list of a record keeps its time
                starts[number] = float(onset)
            times = float(onset), min(float(b"0" + duration), 1e9)
            rows += [(*times, part) for part in parts if part and np.isfinite(times[0])]
    notes = []
    try:
        texts = [text.decode("utf-8") for _, _, text in rows]
    except UnicodeDecodeError:
        texts = [text.decode("latin-1") for _, _, text in rows]
        notes.append("annotations are not UTF-8 and were read as Latin-1")
    onsets, durations = np.array([row[:2] for row in rows]).reshape(-1, 2).T
    first = float(starts[0]) if len(starts) and np.isfinite(starts[0]) else 0.0
    starts, onsets, length = starts - first, onsets - first, header.record_seconds
    if header.is_discontinuous and length and np.isfinite(starts).all() and (np.diff(starts) > 0).all():
        ends = _place(onsets + durations, starts, length)
        onsets = _place(onsets, starts, length)
        lost = np.diff(starts) - length
        pauses = np.flatnonzero(np.abs(lost) > _TOLERANCE)
        if len(pauses):
            seconds = float(lost[pauses].sum())
            notes.append(f"discontinuous (EDF+D): {len(pauses)} pauses, {seconds:g} s in all; no window lies over them")
        durations = np.append(np.maximum(ends - onsets, 0.0), np.zeros(len(pauses)))
        onsets = np.append(onsets, (pauses + 1) * length)
        texts += [BOUNDARY] * len(pauses)
    elif header.is_discontinuous and length:
        notes.append("EDF+D: the times of its records are not in order, so pauses are unknown")
    events, end = events_table(onsets, durations, texts), header.records_there * length
    if not end:
        return events, notes
    # as MNE does: what lies wholly outside the samples goes, the rest is cut to them
    stops = events["onset"] + events["duration"]
    inside = (events["onset"] <= end) & (stops >= 0)
    if not inside.all():
        notes.append(f"{(~inside).sum()} annotations lie outside the recording and were left out")
    onset = events["onset"].clip(0, end)
    events = events.assign(onset=onset, duration=stops.clip(0, end) - onset)
    return events[inside].reset_index(drop=True), notes


def read_edf_events(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Events table of an EDF+ file that may hold annotations alone (a hypnogram), and notes; ReadError without any."""
    events, notes = read_annotations(path, read_edf_header(path))
    if events is None:
        raise ReadError("holds no annotations", file=path, field="events", fix="give an EDF+ file or a table")
    return events, notes


def _records(path: Path, header: EdfHeader) -> list[bytes] | None:
    """Bytes of the annotation signals of every record."""
    sizes = np.array([signal.samples for signal in header.signals]) * header.bytes_per_sample
    ends = np.cumsum(sizes)
    is_annotation = np.array([signal.is_annotation for signal in header.signals])
    if not is_annotation.any():
        return None
    spans = np.stack([ends - sizes, ends], axis=1)[is_annotation].tolist()
    shape = (header.records_there, int(ends[-1]))
    content = np.memmap(path, np.uint8, mode="r", offset=header.data_start, shape=shape)
    return [b"".join(record[start:stop].tobytes() + b"\0" for start, stop in spans) for record in content]


def _place(times: np.ndarray, starts: np.ndarray, length: float) -> np.ndarray:
    """Seconds of the file's clock -> seconds among its samples."""
    record = np.clip(np.searchsorted(starts, times + 1e-9, side="right") - 1, 0, None)
    return record * length + np.minimum(times - starts[record], length)


def open_edf(request: ReadRequest, table: Mapping[str, str]) -> Opened:
    """EDF and BDF with only the channels that are wanted, so that a fast ECG does not resample the EEG."""
    import mne

    path, format_name, options = request.path, request.format, request.options
    header = read_edf_header(path)
    if (header.bytes_per_sample == 3) != (format_name == "bdf"):
        true, end = ("BDF", ".bdf") if header.bytes_per_sample == 3 else ("EDF", ".edf")
        raise ReadError(f"begins like {true}", file=path, field="format", fix=f"let its name end in {end}")
    if all(signal.is_annotation for signal in header.signals):
        fix = "name it as events.file in a recipe, beside the recording"
        raise ReadError("empty recording: holds annotations only, no signal", file=path, field="signals", fix=fix)
    if not header.record_seconds and options.rate is None:
        raise ReadError("is 0: the sampling rate is unknown", file=path, field="record duration", fix="give sfreq=")
    labels = unique([signal.label for signal in header.signals])
    signals = {label: signal for label, signal in zip(labels, header.signals, strict=True) if not signal.is_annotation}
    names = dict(zip(signals, renamed(list(signals), options, path), strict=True))
    of_mne = {names[label]: _KNOWN_TO_MNE.get(signal.unit, 1.0) for label, signal in signals.items()}
    units, of_table = filled_units({label: signal.unit for label, signal in signals.items()}, table)
    wanted, of_channels = _edf_channels(signals, units, names, options, path)
    notes = [*header.notes, *of_channels, *of_table]
    exclude = [label for label in signals if label not in wanted and label.lower() not in ("status", "trigger")]
    open_with_mne = getattr(mne.io, f"read_raw_{format_name}")
    raw = open_with_mne(path, preload=False, exclude=exclude, exclude_after_unique=True, encoding="latin1")
    events, more = read_annotations(path, header)
    notes += more
    raw.rename_channels({label: names[label] for label in raw.ch_names if label in names})
    rates = sorted({signals[label].rate for label in wanted})
    if len(rates) > 1:
        texts = ", ".join(f"{rate:g}" for rate in rates)
        notes.append(f"channels of {texts} Hz were brought to {rates[-1]:g} Hz by MNE")
    types = tuple(word for word in options.drop if word in SENSOR_TYPES)  # all that opening has not dropped
    return opened_in_volts(
        raw,
        {names[label]: units[label] for label in wanted},
        of_mne,
        notes=notes,
        truncated=header.truncated,
        at_once=len(rates) > 1,
        names=list(signals),
        options=options.model_copy(update={"rename": {}, "channel_names": None, "drop": types}),
        annotations=events,
    )


def _edf_channels(
    signals: dict[str, EdfSignal], units: dict[str, str], names: dict[str, str], options: ReadOptions, path: Path
) -> tuple[list[str], list[str]]:
    """Labels of the EEG channels that can be used, and notes on those that cannot."""
    notes = drops_of_nothing(list(names.values()), options)
    wanted, other, ranges = [], [], []
    for label, signal in signals.items():
        told = chosen_type(names[label], options)
        kind = told or kind_of_name(names[label])
        if kind is not None and kind != "eeg":
            other.append(names[label])
        elif told is None and options.units is None and is_body_unit(units[label]):
            other.append(f"{names[label]} [{units[label]}]")
        elif not signal.has_range:
            ranges.append(names[label])
        else:
            wanted.append(label)
    if other:
        notes.append(f"ignored {counted(len(other), 'non-EEG channel')}: {', '.join(map(repr, other))}")
    if ranges:
        notes.append(f"left out, their minimum equals their maximum in the header: {', '.join(ranges)}")
    if not wanted:
        raise ReadError("no EEG channel", file=path, field="channels", fix="give channel_types=")
    wanted = [wanted[i] for i in kept([names[label] for label in wanted], options, path)]
    for label in wanted:
        if options.units is None and factor_to_si(units[label]) is None:
            raise unknown_unit(names[label], units[label], path)
    return wanted, notes
