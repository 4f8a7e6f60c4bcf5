"""electrodes.tsv with coordsystem.json: electrode positions, brought to the head frame where that is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...errors import ReadError
from ..text_table import read_text_table
from .sidecars import Sidecars, read_json

#: unit of length -> metres
_METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}

#: coordinate systems defined like our head frame: origin between the ears, x to the right ear, y to the nasion
_HEAD_SYSTEMS = frozenset(("captrak", "elektaneuromag", "neuromag", "chietiitab"))

#: names of the three landmarks in coordsystem.json
_NASION, _LEFT, _RIGHT = ("NAS", "Nz", "nasion", "NASION"), ("LPA", "lpa", "T9"), ("RPA", "rpa", "T10")


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
    values = table[["x", "y", "z"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    names = tuple(table["name"])
    seen: dict[str, np.ndarray] = {}
    for name, row in zip(names, values, strict=True):
        before = seen.setdefault(name, row)
        if not np.array_equal(before, row, equal_nan=True):
            raise ReadError(f"{name!r} has two positions", file=path, field="name", fix="give each electrode one row")
    return names, values


def _to_head(system: Mapping[str, Any]) -> tuple[np.ndarray | None, str]:
    """Affine from the written coordinates to metres in the head frame, or None and the reason."""
    if not system:
        return None, "no coordsystem.json says in which frame and unit they are"
    unit = str(system.get("EEGCoordinateUnits") or system.get("iEEGCoordinateUnits") or "n/a").strip()
    if unit not in _METRES:
        return None, f"their unit is {unit!r}"
    scale = np.diag([_METRES[unit]] * 3 + [1.0])
    landmarks = _landmarks(system)
    if landmarks is not None:
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
    points = []
    for names in (_NASION, _LEFT, _RIGHT):
        value = next((written[name] for name in names if name in written), None)
        try:
            point = np.array(value, dtype=float) * _METRES[unit]
        except (TypeError, ValueError):
            return None
        if point.shape != (3,) or not np.isfinite(point).all():
            return None
        points.append(point)
    area = np.linalg.norm(np.cross(points[0] - points[1], points[2] - points[1]))
    return points if area > 1e-4 else None  # a head's triangle has some 70 cm2
