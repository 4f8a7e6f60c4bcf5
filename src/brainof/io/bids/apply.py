"""What the sidecars of a BIDS dataset change about the reading of an EEG or MEG file."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...errors import ReadError
from ...recording import Recording
from ...utils.values import counted, listed
from ..names import kind_of_name, renamed, unique
from ..options import ReadOptions, ReadRequest
from ..text_table import read_text_table
from ..units import factor_to_si
from .sidecars import Sidecars, read_json

#: BIDS type -> our type; MEG types are left to the file, which knows its coils
_TYPES = {
    **{kind: kind.lower() for kind in ("EEG", "EOG", "ECG", "EMG", "RESP")},
    "VEOG": "eog",
    "HEOG": "eog",
    "TRIG": "stim",
    **dict.fromkeys(("SEEG", "ECOG", "DBS", "PUPIL", "EYEGAZE", "GSR", "PPG", "TEMP", "AUDIO", "PD"), "misc"),
    **dict.fromkeys(("PHOTODIODE", "MISC", "OTHER", "REF", "ADC", "DAC", "SYSCLOCK", "FITERR", "HLU"), "misc"),
}

#: unit of length -> metres
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}

#: coordinate systems defined like our head frame: origin between the ears, x to the right ear, y to the nasion
_HEAD_SYSTEMS = frozenset(("captrak", "elektaneuromag", "neuromag", "chietiitab"))

#: names of the three landmarks in coordsystem.json
_NASION, _LEFT, _RIGHT = ("NAS", "Nz", "nasion", "NASION"), ("LPA", "lpa", "T9"), ("RPA", "rpa", "T10")


@dataclass(frozen=True)
class ChannelTable:
    """Rows of a channels.tsv."""

    path: Path
    names: list[str]
    types: dict[str, str]  # Name -> type of ours, where the table gives one that is used
    bads: list[str]
    units: dict[str, str]  # Name -> unit as written
    notes: list[str]

    def compare(self, there: Sequence[str]) -> None:
        """Hold the table against the file's channels; ReadError where either lacks one (triggers and body apart)."""
        known, listed_names = set(there), set(self.names)
        absent = [name for name in self.names if name not in known]
        extra = [name for name in there if name not in listed_names and kind_of_name(name) is None]
        if not absent and not extra:
            return
        parts = [f"lists {listed(absent, 4)}, which the recording does not have"] if absent else []
        parts += [f"does not list {listed(extra, 4)}"] if extra else []
        fix = "correct it, or read it alone with sidecars=False"
        raise ReadError(" and ".join(parts), file=self.path, field="name", fix=fix)


def channel_table(request: ReadRequest) -> ChannelTable | None:
    """The channels.tsv of a BIDS recording; None where there is none or the options name channels themselves.

    Raises ReadError: it is no table, or has no column `name`.
    """
    is_used = request.sidecars.is_bids and request.options.channel_names is None
    path = request.sidecars.first("channels", ".tsv") if is_used else None
    if path is None:
        return None
    table, notes = read_text_table(path, error=ReadError)
    if "name" not in table.columns:
        raise ReadError("no column 'name'", file=path, field="channels", fix="see the BIDS specification")
    names = unique(table["name"].tolist())
    if request.format == "ctf":  # read without the number of the system: MLC11 for MLC11-4408
        names = [re.sub(r"-\d+$", "", name) for name in names]
    kinds, states, units = (
        zip(names, table[column] if column in table.columns else [""] * len(names), strict=True)
        for column in ("type", "status", "units")
    )
    return ChannelTable(
        path,
        names,
        types={name: _TYPES[kind.upper()] for name, kind in kinds if kind.upper() in _TYPES},
        bads=[name for name, state in states if state.lower() == "bad"],
        units={name: unit for name, unit in units if unit not in ("", "n/a")},
        notes=notes,
    )


def with_types(options: ReadOptions, table: ChannelTable) -> ReadOptions:
    """The options with the types of the table; patterns of the options come first and win."""
    names = renamed(list(table.types), options, table.path)
    types = {glob.escape(name): kind for name, kind in zip(names, table.types.values(), strict=True)}
    return options.model_copy(update={"channel_types": {**options.channel_types, **types}})


def with_states(
    recording: Recording, table: ChannelTable, stored: Mapping[str, float], options: ReadOptions
) -> Recording:
    """The bad channels of the table, and a note where its units contradict `stored` (channel -> SI of one unit)."""
    names = dict(zip(table.names, renamed(table.names, options, table.path), strict=True))
    there = set(recording.channels.names)
    bads = [names[bad] for bad in table.bads if names[bad] in there and names[bad] not in recording.bads]
    notes = [f"bad by {table.path.name}: {listed(bads)}"] if bads else []
    odd = {}
    for name, unit in table.units.items():
        factor = factor_to_si(unit)
        own = stored.get(names[name]) if names[name] in there else None
        if factor is not None and own is not None and not np.isclose(factor, own, rtol=1e-3, atol=0):
            odd[names[name]] = unit
    if odd and options.units is None:
        what = f"{next(iter(odd.values()))} where the file says otherwise (the file's holds)"
        notes.append(f"{table.path.name} gives {what}: {listed([*odd])}")
    return recording.replace(bads=(*recording.bads, *bads)).noted(*table.notes, *notes)


def with_dataset(recording: Recording, sidecars: Sidecars, options: ReadOptions) -> Recording:
    """The recording with positions from electrodes.tsv, and notes where the JSON sidecar contradicts the file."""
    if not sidecars.is_bids or recording.modality == "fmri":
        return recording
    said = sidecars.number("SamplingFrequency")
    if options.rate is None and said is not None and abs(said - recording.sfreq) > 1e-3 * recording.sfreq:
        recording = recording.noted(f"the JSON says {said:g} Hz, the file {recording.sfreq:g} Hz: the file's was taken")
    if recording.modality != "eeg" or options.montage is not None:
        return recording
    places, notes = find_electrodes(sidecars)
    unknown = np.full(3, np.nan)
    positions = np.array([places.get(name.upper(), unknown) for name in recording.channels.names]).reshape(-1, 3)
    known = np.all(np.isfinite(positions), axis=1)
    recording = recording.noted(*notes)
    if not known.any():
        return recording
    if recording.channels.frame == "head":  # an unknown frame cannot stand beside the head frame
        positions = np.where(known[:, None], positions, recording.channels.positions)
    channels = replace(recording.channels, positions=positions, frame="head")
    left = int((~np.isfinite(positions).all(axis=1)).sum())
    note = f"{counted(int(known.sum()), 'position', 'come')} from electrodes.tsv"
    note += f", {left} unknown" if left else ""
    outdated = re.compile(r"\d+ positions? comes? from|no position for|electrode positions of the file")
    notes = [line for line in recording.notes if not outdated.match(line)]
    return recording.replace(channels=channels, provenance={**recording.provenance, "notes": [*notes, note]})


def find_electrodes(sidecars: Sidecars) -> tuple[dict[str, np.ndarray], list[str]]:
    """The electrode positions that a BIDS dataset gives for a recording, and notes on what was not used.

    Upper-case name -> metres in the head frame, where the coordinate system is defined like it, or where the anatomical
    landmarks are given; any other frame is noted and not guessed.

    Raises ReadError: a table has no name, x, y and z, or a JSON file is damaged.
    """
    notes = []
    for file in sidecars.all("electrodes", ".tsv", free=("space",)):
        # the coordsystem.json of the same space, else one without a space
        own = {**sidecars.entities, "space": file.entities.get("space", "")}
        systems = sidecars.all("coordsystem", ".json", entities=own)
        system = read_json(systems[0].path) if systems else {}
        transform, problem = _to_head(system)
        if transform is None:
            notes.append(f"positions of {file.name} were not used: {problem}")
            continue
        names, positions = read_electrodes(Path(file.path))
        head = positions @ transform[:3, :3].T + transform[:3, 3]
        places = {name.upper(): row for name, row in zip(names, head, strict=True) if np.isfinite(row).all()}
        # a wrong unit puts electrodes into the brain or out of the room
        far = float(np.median([np.linalg.norm(row) for row in places.values()])) if places else 0.1
        if 0.05 < far < 0.25:
            return places, notes
        why = f"half of them lie {far:.3g} m or more from the ears with the unit {system.get('EEGCoordinateUnits')}"
        notes.append(f"positions of {file.name} were not used: {why}")
    return {}, notes


def read_electrodes(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and positions (n, 3) as written, NaN for n/a; ReadError where a column lacks or a name has two places."""
    table, _ = read_text_table(path, error=ReadError)
    for column in ("name", "x", "y", "z"):
        if column not in table.columns:
            raise ReadError(f"no column {column!r}", file=path, field="electrodes", fix="see the BIDS specification")
    places = table[["x", "y", "z"]].apply(pd.to_numeric, errors="coerce").astype(float).set_index(table["name"])
    different = places.reset_index().drop_duplicates()["name"]
    if len(twice := different[different.duplicated()]):
        problem = f"{twice.iloc[0]!r} has two positions"
        raise ReadError(problem, file=path, field="name", fix="give each electrode one row")
    return tuple(places.index), places.to_numpy()


def _to_head(system: Mapping[str, Any]) -> tuple[np.ndarray | None, str]:
    """Affine from the written coordinates to metres in the head frame, or None and the reason."""
    if not system:
        return None, "no coordsystem.json says in which frame and unit they are"
    unit = str(system.get("EEGCoordinateUnits") or system.get("iEEGCoordinateUnits") or "n/a").strip()
    if unit not in _METRES:
        return None, f"their unit is {unit!r}"
    scale = np.diag([_METRES[unit]] * 3 + [1.0])
    if (landmarks := _landmarks(system)) is not None:
        from mne.transforms import get_ras_to_neuromag_trans

        return get_ras_to_neuromag_trans(*landmarks) @ scale, ""
    name = str(system.get("EEGCoordinateSystem", "n/a"))
    if name.lower() in _HEAD_SYSTEMS:
        return scale, ""
    return None, f"their frame is {name!r}, without anatomical landmarks"


def _landmarks(system: Mapping[str, Any]) -> list[np.ndarray] | None:
    """Nasion, left and right ear in metres; None where one is missing, or all lie on a line."""
    written = system.get("AnatomicalLandmarkCoordinates")
    unit = str(system.get("AnatomicalLandmarkCoordinateUnits") or system.get("EEGCoordinateUnits") or "").strip()
    told = system.get("AnatomicalLandmarkCoordinateSystem", system.get("EEGCoordinateSystem"))
    if not isinstance(written, dict) or unit not in _METRES or told != system.get("EEGCoordinateSystem"):
        return None
    values = [next((written[name] for name in names if name in written), None) for names in (_NASION, _LEFT, _RIGHT)]
    try:
        points = [np.array(value, dtype=float) * _METRES[unit] for value in values]
    except (TypeError, ValueError):
        return None
    if any(point.shape != (3,) or not np.isfinite(point).all() for point in points):
        return None
    area = np.linalg.norm(np.cross(points[0] - points[1], points[2] - points[1]))
    return points if area > 1e-4 else None  # a head's triangle has some 70 cm2
