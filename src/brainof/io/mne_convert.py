"""An MNE Raw -> Recording: sensor types, units, geometry in the head frame, events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..channels import MODALITY_OF_TYPE, Channels
from ..errors import ReadError
from ..recording import Recording
from ..utils.memory import empty, release
from .checks import check_size, listed
from .events import events_of_raw
from .names import chosen_type, kept, kind_of_name, renamed
from .options import AUXILIARY_TYPES, ReadOptions
from .positions import coils, default_montage, digitised_electrodes, electrode_positions
from .units import override_factors

#: FIF coil types of axial (and second-order) gradiometers whose unit is tesla: 5 cm point coils, Magnes, CTF, KIT,
#: baby systems, ARTEMIS123, KRISS, Compumedics
AXIAL_COILS = frozenset((2001, 4002, 5001, 6001, 7001, 7501, 9001, 9101, 9102))

# the upper half of a coil type holds the grade of software gradient compensation

#: samples x channels that are decoded at once
_CHUNK = 4_000_000


def recording_of_raw(
    raw: Any,
    *,
    modality: str | None,
    options: ReadOptions,
    entities: Mapping[str, str] | None,
    provenance: dict[str, Any],
    corrections: Mapping[str, float] | None = None,
    stored: Mapping[str, float] | None = None,
    at_once: bool = False,
    annotations: tuple[Any, Any, Any] | None = None,
) -> Recording:
    """One modality of a Raw.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Need not be loaded: it is decoded in pieces to float32.
    modality : {"eeg", "meg"} or None
        None: MEG where there is any, else EEG.
    provenance : dict
        `format` steers the trigger mask; `notes` are kept.
    corrections : mapping of channel name to float, optional
        Factor that turns MNE's values into SI, where MNE does not know the unit.
    stored : mapping of channel name to float, optional
        SI value of one unit as stored in the file (1e-6 for microvolts), needed when `options.units` overrides it.
    at_once : bool
        Decode in one piece, for readers that resample while they read.
    annotations : tuple of onsets, durations, texts, optional
        As in `events_of_raw`.

    Raises
    ------
    ReadError
        No channel of the modality, a wrong unit, or more samples than `options.max_bytes`.
    """
    file, notes = provenance.get("file"), list(provenance.get("notes", ()))
    original = list(raw.ch_names)
    names = renamed(original, options, file)
    types, relabelled = _sensor_types(raw, names, options)
    modality, more = _choose_modality(types, modality, options, file)
    notes += [note for note in more if note]
    rows = [row for row, kind in enumerate(types) if MODALITY_OF_TYPE.get(kind) == modality]
    rows = [rows[i] for i in kept([names[row] for row in rows], options, file)]
    left = Counter(kind for kind in types if kind in AUXILIARY_TYPES and kind != "stim")
    if left:
        notes.append(f"left out: {', '.join(f'{count} {kind}' for kind, count in sorted(left.items()))} channels")
    if relabelled:
        notes.append(f"by their names no brain signal: {listed(relabelled)} (channel_types= to change)")
    check_size(len(rows) * raw.n_times * 8, options.max_bytes, file)

    kinds = [types[row] for row in rows]
    channels, position_notes = _channels(raw, rows, [names[row] for row in rows], kinds, modality, options, provenance)
    factors = np.array([(corrections or {}).get(original[row], 1.0) for row in rows])
    if options.units is not None:
        wanted = override_factors(options.units, channels.names, kinds, file)
        as_stored = np.array([(stored or {}).get(original[row], 1.0) for row in rows])
        factors = np.where(np.isnan(wanted), factors, wanted / as_stored)
    events, event_notes = events_of_raw(raw, str(provenance.get("format")), annotations)
    sfreq = float(raw.info["sfreq"])
    if options.rate is not None and options.rate != sfreq:
        notes.append(f"the file says {sfreq:g} Hz; {options.rate:g} Hz was asked for")
        events = events.assign(
            onset=events.onset * sfreq / options.rate, duration=events.duration * sfreq / options.rate
        )
        sfreq = options.rate
    renames = dict(zip(original, names, strict=True))
    return Recording(
        data=_decode(raw, rows, factors, at_once),
        sfreq=sfreq,
        modality=modality,
        channels=channels,
        entities=dict(entities or {}),
        events=events,
        bads=tuple(renames[bad] for bad in raw.info["bads"] if bad in renames and renames[bad] in channels.names),
        provenance={**provenance, "notes": [*notes, *position_notes, *event_notes]},
        info=_info(raw, rows, channels) if modality == "meg" else None,
    )


def _info(raw: Any, rows: list[int], channels: Channels) -> Any:
    """MNE's measurement info of the chosen channels under our names."""
    import mne

    info = mne.pick_info(raw.info, rows, copy=True)
    if info["ch_names"] != list(channels.names):
        mne.rename_channels(info, dict(zip(info["ch_names"], channels.names, strict=True)), verbose="error")
    return info


def _sensor_types(raw: Any, names: list[str], options: ReadOptions) -> tuple[list[str], list[str]]:
    """Type of each channel (sensor or auxiliary), and the names whose text overruled "eeg"."""
    types, relabelled = [], []
    for channel, kind, name in zip(raw.info["chs"], raw.get_channel_types(), names, strict=True):
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


def _choose_modality(types: list[str], modality: str | None, options: ReadOptions, file: Any) -> tuple[str, list[str]]:
    counts = Counter(MODALITY_OF_TYPE[kind] for kind in types if kind in MODALITY_OF_TYPE)
    if modality is not None:
        if not counts[modality]:  # type: ignore[index]
            there = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(types).items())) or "none"
            raise ReadError(f"no {modality} channel", file=file, field="modality", fix=f"the channels are: {there}")
        return modality, []
    if not counts:
        raise ReadError("no EEG or MEG channel", file=file, field="channels", fix="give channel_types")
    chosen = "meg" if counts["meg"] else "eeg"
    others = [
        f'also holds {count} {kind.upper()} channels: read them with modality="{kind}"'
        for kind, count in counts.items()
        if kind != chosen
    ]
    return chosen, others


def _channels(
    raw: Any, rows: list[int], names: list[str], kinds: list[str], modality: str, options: ReadOptions, provenance: dict
) -> tuple[Channels, list[str]]:
    if modality == "meg":
        positions, normals, frame = coils(raw.info, rows)
        notes = [] if frame == "head" else ["no device-to-head transform: MEG positions are in the device frame"]
        if (missing := int(np.isnan(positions).any(axis=1).sum())) > 0:
            notes.append(f"{missing} MEG channels have no position")
        return Channels(tuple(names), tuple(kinds), positions, normals, frame=frame), notes
    positions, frame, notes = _electrodes(raw, rows, names, options, provenance)
    return Channels(tuple(names), tuple(kinds), positions, frame=frame), notes


def _electrodes(
    raw: Any, rows: list[int], names: list[str], options: ReadOptions, provenance: dict
) -> tuple[np.ndarray, str, list[str]]:
    """Digitised where the file vouches for the head frame, else by name, else in the file's own unknown frame."""
    file, notes = provenance.get("file"), []
    own, in_head = digitised_electrodes(raw.info, rows)
    has_own = np.isfinite(own).all(axis=1)
    # FIF and CTF define electrode positions in the head frame; other formats need fiducials to say so
    in_head = in_head or (provenance.get("format") in ("fif", "ctf") and bool(has_own.any()))
    named = electrode_positions(names, options.montage, file)
    by_name = np.isfinite(named).all(axis=1)
    if in_head and options.montage is None:
        filled = ~has_own & by_name
        positions = np.where(has_own[:, None], own, named)
        if filled.any():
            notes.append(f"{filled.sum()} positions come from the {default_montage()} montage by name")
    elif has_own.any() and by_name.sum() < len(names) / 2 and options.montage is None:
        notes.append("electrode positions of the file have no fiducials: their frame is unknown")
        return own, "unknown", notes
    else:
        positions = named
        if by_name.any():
            notes.append(
                f"{by_name.sum()} positions come from the {options.montage or default_montage()} montage by name"
            )
        if has_own.any():
            notes.append(
                "electrode positions of the file were not used: without fiducials they are not in the head frame"
            )
    unknown = [name for name, known in zip(names, np.isfinite(positions[:, 0]), strict=True) if not known]
    if unknown:
        notes.append(f"no position for {len(unknown)} of {len(names)} channels: {listed(unknown)}")
    return positions, "head" if len(unknown) < len(names) else "unknown", notes


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
