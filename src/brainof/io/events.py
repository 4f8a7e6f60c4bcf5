"""Events tables: from annotations and trigger channels, from a vector with one value per sample, from BIDS files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LabelError
from ..recording import EVENT_COLUMNS, no_events

#: a channel called "Trigger" that changes more often carries a signal
MAX_TRIGGERS_PER_SECOND = 10


def events_table(
    onsets: Sequence[float] | np.ndarray, durations: Sequence[float] | np.ndarray, kinds: Sequence[str]
) -> pd.DataFrame:
    """An events table in order of onset."""
    if not len(onsets):
        return no_events()
    table = pd.DataFrame(
        {
            "onset": np.asarray(onsets, dtype=float),
            "duration": np.asarray(durations, dtype=float),
            "trial_type": [str(kind) for kind in kinds],
        }
    )
    return table.sort_values("onset", kind="stable", ignore_index=True)


def events_from_vector(values: Sequence[Any] | np.ndarray, sfreq: float) -> pd.DataFrame:
    """Events of a vector with one value per sample, where 0, an empty text or NaN means none.

    A run of equal values is one event that lasts from its first to its last sample, so a single sample lasts 0 s.
    """
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
    runs = [(start, end) for start, end in zip(starts, ends, strict=True) if codes[start] != ""]
    return events_table(
        [start / sfreq for start, _ in runs],
        [(end - start - 1) / sfreq for start, end in runs],
        [codes[start] for start, _ in runs],
    )


def events_of_raw(raw: Any, format_name: str) -> tuple[pd.DataFrame, list[str]]:
    """Annotations and triggers of an MNE Raw, in seconds from its first sample, and notes.

    Trigger values are event names ("1", "32"); of BioSemi status words only the 16 trigger bits count.
    """
    import mne

    notes = []
    annotations = raw.annotations
    # annotations with an origin count from the measurement date, the data from first_time
    shift = raw.first_time if annotations.orig_time is not None else 0.0
    parts = [events_table(annotations.onset - shift, annotations.duration, annotations.description)]
    # EGI files keep each event twice: as an annotation and as a channel of its code
    if "stim" in raw.get_channel_types() and not (format_name == "egi" and len(annotations)):
        mask = {"mask": 0xFFFF, "mask_type": "and"} if format_name == "bdf" else {}
        try:
            found = mne.find_events(raw, shortest_event=1, initial_event=False, verbose="error", **mask)
        except Exception as error:  # any failure of the trigger channel must not cost the signal
            found = np.zeros((0, 3), int)
            notes.append(f"the trigger channel could not be read ({str(error).splitlines()[0]})")
        if len(found) > MAX_TRIGGERS_PER_SECOND * raw.n_times / raw.info["sfreq"]:
            notes.append(f"the trigger channel changes {len(found)} times: no triggers, left out")
            found = found[:0]
        seconds = (found[:, 0] - raw.first_samp) / raw.info["sfreq"]
        parts.append(events_table(seconds, np.zeros(len(found)), [str(code) for code in found[:, 2]]))
    filled = [part for part in parts if len(part)]
    if not filled:
        return no_events(), notes
    return pd.concat(filled).sort_values("onset", kind="stable", ignore_index=True), notes


def read_events_file(path: Path) -> pd.DataFrame:
    """A BIDS events file; unknown durations are 0, a missing trial_type is "event".

    Raises
    ------
    LabelError
        It is no table, has no `onset`, or an onset is not a number.
    """
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"])
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise LabelError(f"cannot be read ({error})", file=path) from None
    if "onset" not in table.columns:
        raise LabelError("has no such column", file=path, field="onset", fix=f"columns: {', '.join(table.columns)}")
    onset = pd.to_numeric(table["onset"], errors="coerce")
    if onset.isna().any():
        line = int(np.flatnonzero(onset.isna())[0]) + 2
        raise LabelError(f"line {line} has no number", file=path, field="onset")
    table["onset"] = onset.astype(float)
    duration = table["duration"] if "duration" in table.columns else pd.Series(0.0, index=table.index)
    table["duration"] = pd.to_numeric(duration, errors="coerce").fillna(0.0).astype(float)
    kinds = table["trial_type"] if "trial_type" in table.columns else table.get("value")
    filled = pd.Series("event", index=table.index) if kinds is None else kinds.fillna("n/a").map(_text)
    table["trial_type"] = filled
    rest = [column for column in table.columns if column not in EVENT_COLUMNS]
    return table[[*EVENT_COLUMNS, *rest]].sort_values("onset", kind="stable", ignore_index=True)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
