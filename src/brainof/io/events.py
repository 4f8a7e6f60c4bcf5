"""Events tables, and what time they have: from annotations and triggers, from a vector of samples, from BIDS files.

Every onset is in seconds from the first sample that the recording holds; no other module decides that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LabelError
from ..recording import EVENT_COLUMNS, no_events
from ..utils.values import counted
from .text_table import read_text_table

#: trial_type of a place where samples are missing (MNE's word where recordings are joined); it lasts 0 s and lies at
#: the first sample that follows, and no window may lie over it
BOUNDARY = "BAD boundary"

#: what formats call such a place, in lower case; `new segment` and GDF's start of a run may also begin a recording
_BOUNDARIES = ("boundary", "bad boundary", "edge boundary")
_OF_FORMAT = {"eeglab": ("-99",), "gdf": ("32766",)}

#: texts of a cell that mean "not known"
UNKNOWN = ("", "n/a", "nan")

#: bits of a BioSemi status word: the triggers, and the one that rises where a recording begins or goes on
_TRIGGER_BITS, _EPOCH_BIT = 0xFFFF, 0x10000
#: a channel called "Trigger" that changes more often carries a signal
MAX_TRIGGERS_PER_SECOND = 10


def events_table(
    onsets: Sequence[float] | np.ndarray, durations: Sequence[float] | np.ndarray, kinds: Sequence[str]
) -> pd.DataFrame:
    """An events table in order of onset."""
    if not len(onsets):
        return no_events()
    columns = np.asarray(onsets, dtype=float), np.asarray(durations, dtype=float), list(map(str, kinds))
    table = pd.DataFrame(dict(zip(EVENT_COLUMNS, columns, strict=True)))
    return table.sort_values("onset", kind="stable", ignore_index=True)


def boundaries(samples: Sequence[int] | np.ndarray, sfreq: float) -> pd.DataFrame:
    """Events for the samples before which others are missing."""
    return events_table(np.asarray(samples) / sfreq, np.zeros(len(samples)), [BOUNDARY] * len(samples))


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    """Several events tables as one, in order of onset."""
    filled = [table for table in tables if len(table)]
    if not filled:
        return tables[0] if tables else no_events()
    return pd.concat(filled).sort_values("onset", kind="stable", ignore_index=True)


def events_from_vector(values: Sequence[Any] | np.ndarray, sfreq: float) -> pd.DataFrame:
    """Events of one value per sample (0, empty, NaN: none): runs of equal values; a single sample lasts 0 s."""
    series = pd.Series(np.asarray(values).ravel())
    numbers = pd.to_numeric(series, errors="coerce")
    empty = series.isna() | (numbers == 0) | series.astype(str).str.strip().isin(["", "0", "n/a", "nan"])
    text = [
        str(int(number)) if np.isfinite(number) and float(number).is_integer() else str(value)
        for value, number in zip(series, numbers, strict=True)
    ]
    codes = pd.Series(text).where(~empty, "")
    starts = np.flatnonzero((codes != codes.shift()).to_numpy())
    ends = np.append(starts[1:], len(codes))
    is_event = (codes[starts] != "").to_numpy()
    starts, ends = starts[is_event], ends[is_event]
    return events_table(starts / sfreq, (ends - starts - 1) / sfreq, codes[starts].tolist())


def events_of_raw(
    raw: Any, format_name: str, annotations: pd.DataFrame | None = None, pauses: Sequence[int] | np.ndarray = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Annotations and triggers of an MNE Raw, in seconds from its first sample, and notes.

    Trigger values are event names ("1", "32"); of BioSemi status words only the 16 trigger bits count. Places where the
    recording was paused or cut (`pauses`: samples that follow one) become events called `BOUNDARY`, whatever the format
    calls them. `annotations` is an events table that stands for those of the Raw.
    """
    sfreq = float(raw.info["sfreq"])
    if annotations is None:
        own = raw.annotations
        # MNE counts annotations from the measurement date, or without one from where sample 0 would lie
        annotations = events_table(own.onset - raw.first_time, own.duration, own.description)
    annotations = with_boundaries(joined(annotations, boundaries(pauses, sfreq)), sfreq, format_name)
    # EGI files keep each event twice: as an annotation and as a channel of its code
    if "stim" not in raw.get_channel_types() or (format_name == "egi" and len(annotations)):
        return annotations, []
    try:
        found = _triggers(raw, _TRIGGER_BITS if format_name == "bdf" else None)
        epochs = _triggers(raw, _EPOCH_BIT) if format_name == "bdf" else found[:0]
    except Exception as error:  # any failure of the trigger channel must not cost the signal
        return annotations, [f"the trigger channel could not be read ({str(error).splitlines()[0]})"]
    if len(found) > MAX_TRIGGERS_PER_SECOND * raw.n_times / sfreq:
        return annotations, [f"the trigger channel changes {len(found)} times: no triggers, left out"]
    triggers = events_table(found[:, 0] / sfreq, np.zeros(len(found)), [str(code) for code in found[:, 2]])
    return joined(annotations, triggers, boundaries(epochs[:, 0], sfreq)), []


def _triggers(raw: Any, mask: int | None) -> np.ndarray:
    """Samples (from the first of the recording), values before and after, of every onset in the trigger channel."""
    import mne

    arguments = {} if mask is None else {"mask": mask, "mask_type": "and"}
    found = mne.find_events(raw, shortest_event=1, initial_event=False, verbose="error", **arguments)
    return found - [raw.first_samp, 0, 0]


def with_boundaries(events: pd.DataFrame, sfreq: float, format_name: str) -> pd.DataFrame:
    """What formats call a pause as one `BOUNDARY` at the sample after it; at the start only `New Segment` stays."""
    if events.empty:
        return events
    kinds = events["trial_type"].str.lower()
    boundary = kinds.isin(_BOUNDARIES)
    inside = events["onset"] * sfreq > 0.5
    cut = (kinds.str.startswith("new segment") | kinds.isin(_OF_FORMAT.get(format_name, ())) | boundary) & inside
    if not (cut | boundary).any():
        return events
    events = events.assign(
        onset=events["onset"].mask(cut, np.ceil(events["onset"] * sfreq - 1e-6) / sfreq),
        duration=events["duration"].mask(cut, 0.0),
        trial_type=events["trial_type"].mask(cut, BOUNDARY),
    )
    again = cut & events.duplicated(["onset", "trial_type"])
    return events[(inside | ~boundary) & ~again].reset_index(drop=True)


def only_boundaries(events: pd.DataFrame) -> pd.DataFrame:
    """The events that mark pauses, which stay when a table replaces the events of the file."""
    return events[events["trial_type"].isin([BOUNDARY, "BAD_ACQ_SKIP"])]


def read_events_file(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """A BIDS events file as `parsed_events` reads it, and notes; unknown durations are 0, an empty file holds no event.

    Raises LabelError: it is not a table, has no `onset`, or an onset is neither a number nor n/a.
    """
    table, notes = read_text_table(path)
    if not len(table.columns):
        return no_events(), [f"{path.name} is empty"]
    if "onset" not in table.columns:
        raise LabelError("has no such column", file=path, field="onset", fix=f"columns: {', '.join(table.columns)}")
    events, more = parsed_events(table, path)
    known = {"duration": events["duration"].fillna(0.0), "trial_type": events["trial_type"].replace("", "n/a")}
    return events.assign(**known), notes + more


def parsed_events(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Events of a table of text in order of onset, and notes; unknown durations are NaN, without a trial_type "event".

    Types and further columns stay the text that is written (`01`, `NA`); rows without an onset (n/a) are left out and
    counted in a note.

    Raises LabelError: an onset is neither a number nor n/a.
    """
    table, notes = table.copy(), list[str]()
    onset = pd.to_numeric(table["onset"], errors="coerce").astype(float)
    known = np.isfinite(onset)
    odd = np.flatnonzero(~known & ~table["onset"].str.lower().isin(UNKNOWN))
    if len(odd):
        problem = f"line {odd[0] + 2} has no number: {table['onset'][odd[0]][:20]!r}"
        raise LabelError(problem, file=path, field="onset", fix="give seconds, or n/a")
    if not known.all():
        notes.append(f"no onset of {counted(int((~known).sum()), 'event')} in {path.name}: left out")
    table["onset"] = onset
    if "duration" in table.columns:
        duration = pd.to_numeric(table["duration"], errors="coerce").astype(float)
        table["duration"] = duration.where(np.isfinite(duration))
    else:
        table["duration"] = 0.0
    if "trial_type" not in table.columns:
        table["trial_type"] = table["value"] if "value" in table.columns else "event"
    rest = [column for column in table.columns if column not in EVENT_COLUMNS]
    table = table[[*EVENT_COLUMNS, *rest]][known]
    return table.sort_values("onset", kind="stable", ignore_index=True), notes
