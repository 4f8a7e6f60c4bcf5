"""The header of EDF and BDF files, checked before any reader takes memory.

MNE accepts records of zero length, unknown units, empty ranges and files that were cut (with a warning or with none);
the checks here are what it leaves out. Layout: Kemp et al. 1992, https://www.edfplus.info.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ReadError

#: bytes per signal: label, transducer, unit, physical and digital limits, filter, samples
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8)


@dataclass(frozen=True)
class EdfSignal:
    """One signal of the header; `rate` in samples per second (0 where the record length is 0)."""

    label: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[float, float]
    samples: int
    rate: float

    @property
    def is_annotation(self) -> bool:
        return self.label in ("EDF Annotations", "BDF Annotations")

    @property
    def has_range(self) -> bool:
        """False where physical or digital minimum equals maximum: the scale is undefined."""
        return self.physical[0] != self.physical[1] and self.digital[0] != self.digital[1]


@dataclass(frozen=True)
class EdfHeader:
    """What the header says, and what the size of the file allows."""

    signals: tuple[EdfSignal, ...]
    record_seconds: float
    records_said: int
    records_there: int
    notes: tuple[str, ...]
    data_start: int = 0
    bytes_per_sample: int = 2
    is_discontinuous: bool = False  # EDF+D or BDF+D: records may be apart in time

    @property
    def truncated(self) -> bool:
        return self.records_said > self.records_there


def read_edf_header(path: Path) -> EdfHeader:
    """The header of an EDF or BDF file; ReadError where a field is wrong, or no data record is complete."""
    size = path.stat().st_size
    if size == 0:
        raise ReadError("is empty (0 bytes)", file=path, fix="copy the file again")
    with path.open("rb") as stream:
        fixed = stream.read(256)
        if len(fixed) < 256:
            raise ReadError(f"has {size} bytes, less than an EDF header (256)", file=path, fix="copy the file again")
        n = _integer(fixed[252:256], path, "number of signals")
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
    for cells in zip(*columns, strict=True):
        label, _, unit, pmin, pmax, dmin, dmax, _, samples = cells
        label, unit = (text.decode("latin-1").strip(" \0") for text in (label, unit))
        count = _integer(samples, path, f"samples per record of {label}")
        if count <= 0:
            raise ReadError(f"{count}", file=path, field=f"samples per record of {label}", fix="the header is damaged")
        physical = _number(pmin, path, f"{label} minimum"), _number(pmax, path, f"{label} maximum")
        digital = _number(dmin, path, f"{label} minimum"), _number(dmax, path, f"{label} maximum")
        rate = count / record_seconds if record_seconds else 0.0
        signals.append(EdfSignal(label, unit, physical, digital, count, rate))
    return _with_size(path, size, fixed, tuple(signals), record_seconds)


def _with_size(path: Path, size: int, fixed: bytes, signals: tuple[EdfSignal, ...], seconds: float) -> EdfHeader:
    bytes_per_sample = 3 if fixed[0] == 0xFF else 2
    record = bytes_per_sample * sum(signal.samples for signal in signals)
    data_start = _integer(fixed[184:192], path, "header size")
    if data_start < 256:
        raise ReadError(f"{data_start} bytes", file=path, field="header size", fix="the header is damaged")
    said, there = _integer(fixed[236:244], path, "number of records"), (size - data_start) // record
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
    twice = [label for label, count in labels.items() if count > 1]
    if twice:
        notes.append(f"channel names that occur twice were numbered: {', '.join(twice)}")
    apart = fixed[192:197] in (b"EDF+D", b"BDF+D")
    return EdfHeader(signals, seconds, said, there, tuple(notes), data_start, bytes_per_sample, apart)


def _number(text: bytes, path: Path, field: str) -> float:
    try:
        return float(text.decode("latin-1").strip(" \0").replace(",", "."))
    except ValueError:
        raise ReadError(f"{text!r} is not a number", file=path, field=field, fix="not an EDF or BDF file") from None


def _integer(text: bytes, path: Path, field: str) -> int:
    return int(_number(text, path, field))
