"""An MNE Raw -> Recording: sensor types, units, geometry in the head frame, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..channels import MODALITY_OF_TYPE, Channels
from ..errors import ReadError
from ..recording import Recording
from ..utils.memory import empty, release
from ..utils.values import counted, listed
from .checks import check_size
from .events import events_of_raw
from .names import chosen_type, drops_of_nothing, kept, kind_of_name, renamed
from .options import AUXILIARY_TYPES, ReadOptions
from .positions import coils, digitised_electrodes, electrode_positions, position_notes
from .units import factor_to_si, override_factors

#: FIF coil types of axial (and second-order) gradiometers whose unit is tesla: 5 cm point coils, Magnes, CTF, KIT,
#: baby systems, ARTEMIS123, KRISS, Compumedics
AXIAL_COILS = frozenset((2001, 4002, 5001, 6001, 7001, 7501, 9001, 9101, 9102))

#: samples x channels that are decoded at once
_CHUNK = 4_000_000


@dataclass
class Opened:
    """A Raw, and what it does not tell itself."""

    raw: Any  # mne.io.BaseRaw; need not be loaded: it is decoded in pieces to float32
    notes: list[str] = field(default_factory=list)
    truncated: bool = False
    #: Name -> factor that turns MNE's values into SI, where MNE does not know the unit
    corrections: dict[str, float] = field(default_factory=dict)
    #: Name -> SI value of one unit as the file stores it (1e-6 for microvolts); `options.units` may override it
    stored: dict[str, float] = field(default_factory=dict)
    at_once: bool = False  # Decode in one piece, for readers that resample while they read
    names: list[str] = field(default_factory=list)  # Names of all channels of the file, where the Raw holds only some
    options: ReadOptions | None = None  # Options that are left to apply, where opening applied some
    annotations: pd.DataFrame | None = None  # Events table, where the annotations are not those of the Raw
    pauses: Sequence[int] | np.ndarray = ()  # Samples before which others are missing, where no annotation says so


def opened_in_volts(raw: Any, units: Mapping[str, str], of_mne: Mapping[str, float], **more: Any) -> Opened:
    """By the unit text of each channel (one that is none counts as volts) and the factor that MNE took for it."""
    stored = {name: factor_to_si(unit) or 1.0 for name, unit in units.items()}
    corrections = {name: factor / of_mne.get(name, 1.0) for name, factor in stored.items()}
    return Opened(raw, corrections=corrections, stored=stored, **more)


def recording_of_raw(
    opened: Opened,
    *,
    modality: str | None,
    options: ReadOptions,
    entities: Mapping[str, str] | None = None,
    file: str | None = None,
    format_name: str = "mne",
) -> Recording:
    """One modality of a Raw (default: MEG, else EEG); ReadError: no such channel, a wrong unit, or too large."""
    import mne

    raw, options, notes = opened.raw, opened.options or options, list(opened.notes)
    original = list(raw.ch_names)
    names = renamed(original, options, file)
    types, relabelled = _sensor_types(raw, names, options)
    modality, more = _choose_modality(types, modality, file)
    notes += more + drops_of_nothing(names, options, types)
    rows = [row for row, kind in enumerate(types) if MODALITY_OF_TYPE.get(kind) == modality]
    rows = [rows[i] for i in kept([names[row] for row in rows], options, file, [types[row] for row in rows])]
    left = Counter(kind for kind in types if kind in AUXILIARY_TYPES and kind != "stim")
    if left:
        notes.append(f"left out: {', '.join(f'{count} {kind}' for kind, count in sorted(left.items()))} channels")
    if relabelled:
        notes.append(f"by their names no brain signal: {listed(relabelled)} (channel_types= to change)")
    check_size(len(rows) * raw.n_times * 8, options.max_bytes, file)

    chosen, kinds = [names[row] for row in rows], [types[row] for row in rows]
    if modality == "meg":
        places, position_notes = _sensors(raw.info, rows)
    else:
        places, position_notes = _electrodes(raw.info, rows, chosen, options.montage, file, format_name)
    channels = Channels(tuple(chosen), tuple(kinds), **places)
    factors = np.array([opened.corrections.get(original[row], 1.0) for row in rows])
    if options.units is not None:
        wanted = override_factors(options.units, chosen, kinds, file)
        as_stored = np.array([opened.stored.get(original[row], 1.0) for row in rows])
        factors = np.where(np.isnan(wanted), factors, wanted * factors / as_stored)
    events, event_notes = events_of_raw(raw, format_name, opened.annotations, opened.pauses)
    sfreq = float(raw.info["sfreq"])
    if options.rate is not None and options.rate != sfreq:
        notes.append(f"the file says {sfreq:g} Hz; {options.rate:g} Hz was asked for")
        events[["onset", "duration"]] *= sfreq / options.rate
        sfreq = options.rate
    notes += [*position_notes, *event_notes]
    renames = dict(zip(original, names, strict=True))
    info: Any = None
    if modality == "meg":
        info = mne.pick_info(raw.info, rows, copy=True)
        if info["ch_names"] != chosen:
            mne.rename_channels(info, dict(zip(info["ch_names"], chosen, strict=True)), verbose="error")
    return Recording(
        data=_decode(raw, rows, factors, opened.at_once),
        sfreq=sfreq,
        modality=modality,
        channels=channels,
        entities=dict(entities or {}),
        events=events,
        bads=tuple(renames[bad] for bad in raw.info["bads"] if bad in renames and renames[bad] in channels.names),
        provenance={"file": file, "format": format_name, "truncated": opened.truncated, "notes": notes},
        info=info,
    )


def _sensor_types(raw: Any, names: list[str], options: ReadOptions) -> tuple[list[str], list[str]]:
    """Type of each channel (sensor or auxiliary), and the names whose text overruled "eeg"."""
    types, relabelled = [], []
    for channel, kind, name in zip(raw.info["chs"], raw.get_channel_types(), names, strict=True):
        # the upper half of a coil type holds the grade of software gradient compensation
        if kind == "mag" and int(channel["coil_type"]) & 0xFFFF in AXIAL_COILS:
            kind = "axial"
        elif kind == "ref_meg":
            kind = "ref"
        elif kind == "eeg" and (told := kind_of_name(name)):
            kind = told
            if not chosen_type(name, options):
                relabelled.append(name)
        if kind not in MODALITY_OF_TYPE and kind not in AUXILIARY_TYPES:
            kind = "misc"
        types.append(chosen_type(name, options) or kind)
    return types, relabelled


def _choose_modality(types: list[str], modality: str | None, file: str | None) -> tuple[str, list[str]]:
    counts = Counter(MODALITY_OF_TYPE[kind] for kind in types if kind in MODALITY_OF_TYPE)
    if modality is not None:
        if not counts[modality]:  # type: ignore[index]
            there = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(types).items())) or "none"
            raise ReadError(f"no {modality} channel", file=file, field="modality", fix=f"the channels are: {there}")
        return modality, []
    if not counts:
        raise ReadError("no EEG or MEG channel", file=file, field="channels", fix="give channel_types=")
    chosen = "meg" if counts["meg"] else "eeg"
    others = [(kind, count) for kind, count in counts.items() if kind != chosen]
    return chosen, [
        f"also holds {counted(n, f'{kind.upper()} channel')}: read them with modality='{kind}'" for kind, n in others
    ]


def _sensors(info: Any, rows: list[int]) -> tuple[dict[str, Any], list[str]]:
    """Place and normal of MEG coils, their frame, and notes."""
    positions, normals, frame = coils(info, rows)
    notes = [] if frame == "head" else ["no device-to-head transform: MEG positions are in the device frame"]
    if missing := int(np.isnan(positions).any(axis=1).sum()):
        notes.append(f"{missing} MEG channels have no position")
    return {"positions": positions, "orientations": normals, "frame": frame}, notes


def _electrodes(
    info: Any, rows: list[int], names: list[str], montage: str | None, file: str | None, format_name: str
) -> tuple[dict[str, Any], list[str]]:
    """Digitised where the file vouches for the head frame, else by name, else in the file's own unknown frame."""
    own, in_head = digitised_electrodes(info, rows)
    has_own = np.all(np.isfinite(own), axis=1)
    # FIF and CTF define electrode positions in the head frame; other formats need fiducials to say so
    in_head = in_head or (format_name in ("fif", "ctf") and bool(has_own.any()))
    named = electrode_positions(names, montage, file)
    by_name = np.all(np.isfinite(named), axis=1)
    if in_head and montage is None:
        by_name &= ~has_own
        positions = np.where(has_own[:, None], own, named)
    elif has_own.any() and by_name.sum() < len(names) / 2 and montage is None:
        notes = ["electrode positions of the file have no fiducials: their frame is unknown"]
        return {"positions": own, "frame": "unknown"}, notes
    else:
        positions = named
    notes = position_notes(names, positions, int(by_name.sum()), montage)
    if has_own.any() and positions is named:
        notes.append("electrode positions of the file were not used: without fiducials they are not in the head frame")
    return {"positions": positions, "frame": "head" if np.isfinite(positions[:, 0]).any() else "unknown"}, notes


def _decode(raw: Any, rows: list[int], factors: np.ndarray, at_once: bool) -> np.ndarray:
    """float32 data of some channels; MNE decodes to float64, so it is done in pieces."""
    n_times = raw.n_times
    out = empty((len(rows), n_times))
    step = n_times if at_once else max(1, _CHUNK // max(1, len(raw.ch_names)))
    for start in range(0, n_times, max(1, step)):
        stop = min(start + step, n_times)
        piece = raw.get_data(picks=rows, start=start, stop=stop)
        out[:, start:stop] = piece * factors[:, None] if (factors != 1).any() else piece
        release(out)
    return out
