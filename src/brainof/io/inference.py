"""What a bare array does not say: its time axis, rate and modality. Read from hints, never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..channels import MODALITY_OF_TYPE
from ..errors import ReadError
from .options import ReadOptions
from .positions import electrode_positions
from .units import FACTORS, plain

#: names under which files keep their rate (Hz), their repetition time (s) and the time of each sample (s)
RATE_NAMES = ("sfreq", "fs", "srate", "sampling_rate", "sampling_frequency", "samplingrate", "sample_rate")
TR_NAMES = ("tr", "t_r", "repetition_time", "repetitiontime")
TIME_NAMES = ("t", "time", "times", "timestamp", "timestamps")

#: one axis this many times longer than the other is taken for time (with a note)
_CLEARLY_LONGER = 20


def channels_by_time(
    values: np.ndarray,
    columns: tuple[str, ...] | None,
    vectors: dict[str, np.ndarray],
    atlas: Any,
    options: ReadOptions,
    path: Path,
    variable: str,
) -> tuple[np.ndarray, list[str]]:
    """Values as channels x time; the axis is never guessed where two readings are possible."""
    axis: int | None = 0 if columns is not None else options.time_axis
    n0, n1 = values.shape
    notes: list[str] = []
    if axis is None:
        known = len(options.channel_names) if options.channel_names else len(atlas) if atlas is not None else None
        if known is not None and (n0 == known) != (n1 == known):
            axis = 1 if n0 == known else 0
        elif n0 != n1 and known is None:
            lengths = {len(vector) for vector in vectors.values()}
            if (n0 in lengths) != (n1 in lengths):
                axis = 0 if n0 in lengths else 1
            elif max(n0, n1) >= _CLEARLY_LONGER * min(n0, n1):
                axis = int(n1 > n0)
                notes.append(f"the longer axis of {variable} ({n0} x {n1}) was taken for time (time_axis= to change)")
        elif known is not None and known not in (n0, n1):
            raise ReadError(
                f"shape {n0}x{n1} does not fit {known} channels",
                file=path,
                field=variable,
                fix="check the atlas or channel_names",
            )
    if axis is None:
        raise ReadError(
            f"which axis of {n0}x{n1} is time?", file=path, field=variable, fix="give time_axis: 0 or 1, or an atlas"
        )
    return (values.T if axis == 0 else values), notes


def sampling_rate(vectors: dict[str, np.ndarray], options: ReadOptions, path: Path) -> float:
    if options.rate is not None:
        return options.rate
    scalars = {
        name.lower(): float(vector[0])
        for name, vector in vectors.items()
        if vector.size == 1 and vector.dtype.kind in "fiu"
    }
    for name in RATE_NAMES:
        if scalars.get(name, 0) > 0:
            return scalars[name]
    for name in TR_NAMES:
        if scalars.get(name, 0) > 0:
            if scalars[name] > 20:
                raise ReadError(
                    f"{scalars[name]:g} s looks like milliseconds", file=path, field=name, fix="give t_r in seconds"
                )
            return 1 / scalars[name]
    for name, vector in vectors.items():
        if name.lower() in TIME_NAMES and vector.size > 2 and vector.dtype.kind in "fiu":
            total = float(vector[-1] - vector[0])
            if total > 0:
                return round((vector.size - 1) / total, 3)
    raise ReadError("is not in the file", file=path, field="sampling rate", fix="give sfreq (Hz) or t_r (s)")


def modality_of(
    modality: str | None,
    variable: str,
    columns: tuple[str, ...] | None,
    options: ReadOptions,
    has_atlas: bool,
    path: Path,
) -> str:
    if modality is not None:
        return modality
    told = {MODALITY_OF_TYPE[kind] for kind in options.channel_types.values() if kind in MODALITY_OF_TYPE}
    units = [options.units] if isinstance(options.units, str) else list((options.units or {}).values())
    told |= {"eeg" for unit in units if plain(unit) in FACTORS["V"]}
    told |= {"meg" for unit in units if plain(unit) in FACTORS["T"] or plain(unit) in FACTORS["T/m"]}
    if has_atlas or options.t_r is not None:
        told.add("fmri")
    if len(told) == 1:
        return next(iter(told))
    names = options.channel_names or columns
    if not told and names and np.isfinite(electrode_positions(names)[:, 0]).mean() > 0.5:
        return "eeg"
    if not told and variable.lower() in ("eeg", "meg", "bold", "fmri"):
        return "fmri" if variable.lower() == "bold" else variable.lower()
    raise ReadError("cannot be told from a table", file=path, field="modality", fix="give modality: eeg, meg or fmri")
