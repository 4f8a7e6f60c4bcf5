"""Events and segments: tables beside a recording that say what happened when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import LabelError, check_known
from ..io.edf import read_edf_events
from ..io.events import joined, only_boundaries, parsed_events
from ..recording import EVENT_COLUMNS, Recording, no_events
from .discover import fill, inside
from .recipe import EventSource, Segments
from .tables import read_table, scalar


def with_events(recording: Recording, source: EventSource, root: str | Path) -> Recording:
    """The recording with the events that a recipe describes; LabelError where their table does not hold them."""
    pauses = only_boundaries(recording.events)
    events = recording.events.drop(pauses.index)
    if source.file is not None:
        path = inside(root, fill(source.file, recording.entities, "events.file"))
        events, notes = _from_table(path, source)
        recording = recording.noted(*notes)
    if source.origin is not None:
        events["onset"] = events["onset"] - scalar(Path(str(recording.file)), source.origin, "events.origin")
    events["trial_type"] = events["trial_type"].astype(str).str.strip()
    if source.values:
        events["trial_type"] = events["trial_type"].replace(source.values)
    if source.duration is not None:
        duration = pd.to_numeric(events["duration"]).astype(float)
        events["duration"] = duration.where(duration > 0, source.duration)
    if source.merge is not None:
        events = merged(events, source.merge)
    return recording.replace(events=joined(events.sort_values("onset", kind="stable", ignore_index=True), pauses))


def merged(events: pd.DataFrame, gap: float) -> pd.DataFrame:
    """Join neighbouring events of one trial_type whose gap is at most `gap` seconds; the first row's columns stay."""
    events = events.sort_values("onset", kind="stable").reset_index(drop=True)
    if events.empty:
        return events
    end = (events["onset"] + events["duration"].fillna(0.0)).cummax()
    new = (events["trial_type"] != events["trial_type"].shift()) | (events["onset"] - end.shift() > gap)
    block = new.cumsum()
    joined = events[new].copy()
    joined["duration"] = end.groupby(block).max().to_numpy() - joined["onset"].to_numpy()
    return joined.reset_index(drop=True)


def split_segments(recording: Recording, segments: Segments, root: str | Path) -> list[Recording]:
    """Events and parts from a table with one row per sample (volume); LabelError where it lacks rows or a column.

    A part is a stretch of equal values in the `split` columns, with those values as entities, onsets counted from its
    own first sample, and `provenance["part"]`; where nothing is to be split there is one.
    """
    path = inside(root, fill(segments.file, recording.entities, "segments.file"))
    table = read_table(path, segments.columns)
    for column in (*segments.split, *([segments.trial_type] if segments.trial_type else [])):
        check_known(column, table.columns, LabelError, "no column {!r}", file=path, field="segments")
    if len(table) != recording.n_times:
        text = f"{len(table)} rows for {recording.n_times} samples of {recording.file}"
        raise LabelError(text, file=path, field="segments", fix="the table needs one row per sample (volume)")
    parts = []
    for start, stop in _runs(table[segments.split]):
        rows = table.iloc[start:stop]
        named = {column: str(rows[column].iloc[0]) for column in segments.split}
        if segments.trial_type:
            kinds, sfreq = rows[segments.trial_type], recording.sfreq
            runs = [(a / sfreq, (b - a) / sfreq, str(kinds.iloc[a])) for a, b in _runs(kinds.to_frame())]
            events = pd.DataFrame(runs, columns=list(EVENT_COLUMNS))
        else:
            onset = recording.events["onset"]
            is_inside = (onset >= start / recording.sfreq) & (onset < stop / recording.sfreq)
            events = recording.events[is_inside].assign(onset=onset - start / recording.sfreq).reset_index(drop=True)
        provenance = {**recording.provenance, "part": "_".join(f"{k}-{v}" for k, v in named.items())}
        data, entities = recording.data[:, start:stop], {**recording.entities, **named}
        parts.append(recording.replace(data=data, entities=entities, events=events, provenance=provenance))
    return parts


def _from_table(path: Path, source: EventSource) -> tuple[pd.DataFrame, list[str]]:
    if path.suffix.lower() in (".edf", ".bdf"):  # a hypnogram: annotations without a signal
        return read_edf_events(path)
    table = read_table(path, unknown=("n/a",), may_be_empty=True)  # NA may be the name of a condition
    if table.empty:
        return no_events(), [f"{path.name} holds no events"]
    table = table.rename(columns=source.columns)
    for column in source.filled.values():
        check_known(column, table.columns, LabelError, "no column {!r}", file=path, field="events.filled")
    if source.filled:  # the trial type whose column has a value in a row
        found = pd.DataFrame({name: table[column] != "" for name, column in source.filled.items()})
        if len(wrong := np.flatnonzero(found.sum(axis=1) != 1)):
            problem = f"row {wrong[0] + 1} has not exactly one of {', '.join(source.filled.values())}"
            raise LabelError(problem, file=path, field="events")
        table["trial_type"] = found.idxmax(axis=1)
    for column in EVENT_COLUMNS:
        if column not in table.columns:
            raise LabelError(f"no column {column!r}", file=path, field="events", fix="name it in events.columns")
    return parsed_events(table, path)


def _runs(table: pd.DataFrame) -> list[tuple[int, int]]:
    """First and last-plus-one row of each stretch of equal rows."""
    changed = (table != table.shift()).any(axis=1).to_numpy()
    starts = [0, *(np.flatnonzero(changed[1:]) + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(table)], strict=True))
