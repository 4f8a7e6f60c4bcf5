"""Annotations of EDF+ and BDF+ files, and the time of every record, which discontinuous files (EDF+D) give.

Own code: MNE refuses texts that are not UTF-8, joins records over pauses and drops the events after them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ReadError
from .edf_header import EdfHeader, read_edf_header
from .events import BOUNDARY, events_table

#: onset, duration, texts of a time-stamped annotation list
_TAL = re.compile(rb"([+-]\d+\.?\d*)(?:\x15(\d*\.?\d*))?\x14([^\x00]*?)\x14?\x00")

#: seconds by which the written start of a record may differ from the end of the one before
_TOLERANCE = 1e-3


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
            rows += [(float(onset), _seconds(duration), part) for part in parts if part and np.isfinite(float(onset))]
    texts, notes = _decoded([text for _, _, text in rows])
    onsets, durations = np.array([row[:2] for row in rows]).reshape(-1, 2).T
    first = float(starts[0]) if len(starts) and np.isfinite(starts[0]) else 0.0
    starts, onsets, length = starts - first, onsets - first, header.record_seconds
    in_order = np.isfinite(starts).all() and (np.diff(starts) > 0).all()
    if not header.is_discontinuous or not length or not in_order:
        if header.is_discontinuous and length:
            notes.append("EDF+D: the times of its records are not in order, so pauses are unknown")
        return _inside(onsets, durations, texts, header, notes)
    ends = _place(onsets + durations, starts, length)
    onsets = _place(onsets, starts, length)
    lost = np.diff(starts) - length
    pauses = np.flatnonzero(np.abs(lost) > _TOLERANCE)
    if len(pauses):
        seconds = float(lost[pauses].sum())
        notes.append(f"discontinuous (EDF+D): {len(pauses)} pauses, {seconds:g} s in all; no window lies over them")
    durations = np.append(np.maximum(ends - onsets, 0.0), np.zeros(len(pauses)))
    onsets = np.append(onsets, (pauses + 1) * length)
    return _inside(onsets, durations, [*texts, *[BOUNDARY] * len(pauses)], header, notes)


def _inside(
    onsets: np.ndarray, durations: np.ndarray, texts: list[str], header: EdfHeader, notes: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Without the annotations that lie wholly outside the samples, and with the others cut to them, as MNE does."""
    events, end = events_table(onsets, durations, texts), header.records_there * header.record_seconds
    if not end:
        return events, notes
    stops = events["onset"] + events["duration"]
    kept = (events["onset"] <= end) & (stops >= 0)
    if not kept.all():
        notes.append(f"{(~kept).sum()} annotations lie outside the recording and were left out")
    onset = events["onset"].clip(0, end)
    events = events.assign(onset=onset, duration=stops.clip(0, end) - onset)
    return events[kept].reset_index(drop=True), notes


def read_edf_events(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Events table of an EDF+ file that may hold annotations alone (a hypnogram), and notes; ReadError without any."""
    events, notes = read_annotations(path, read_edf_header(path))
    if events is None:
        raise ReadError("holds no annotations", file=path, field="events", fix="give an EDF+ file or a table")
    return events, notes


def _records(path: Path, header: EdfHeader) -> list[bytes] | None:
    """Bytes of the annotation signals of every record."""
    width = header.bytes_per_sample
    sizes = np.array([signal.samples * width for signal in header.signals])
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


def _seconds(duration: bytes) -> float:
    try:
        return min(float(duration or 0), 1e9)
    except ValueError:
        return 0.0


def _decoded(texts: list[bytes]) -> tuple[list[str], list[str]]:
    try:
        return [text.decode("utf-8") for text in texts], []
    except UnicodeDecodeError:
        return [text.decode("latin-1") for text in texts], ["annotations are not UTF-8 and were read as Latin-1"]
