"""Markers and digitised points of a KIT recording in a BIDS dataset: they tie its coils to the head."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ReadError
from .electrodes import METRES
from .names import parse
from .sidecars import Sidecars

_MARKERS = (".mrk", ".sqd", ".txt")
_POINTS = (".pos", ".elp", ".hsp", ".txt")


def kit_digitisation(path: Path, sidecars: Sidecars) -> tuple[dict[str, Any], list[str]]:
    """Arguments `mrk`, `elp` and `hsp` of MNE's reader, and a note where they are only partly there.

    The files are `*_markers.mrk` (several, as before and after the run, are averaged), `*_acq-ELP_headshape.pos` (three
    fiducials and five coils) and `*_acq-HSP_headshape.pos`, beside the recording. Points are in the unit that
    coordsystem.json gives, else in millimetres, the unit of the digitiser's export.
    """
    entities = sidecars.entities
    if not sidecars.is_bids or not sidecars.folders:
        return {}, []
    markers, shapes = [], {}
    for file in _beside(path):
        own, suffix, extension = parse(file.name)
        label = own.pop("acquisition", "") or ""
        if any(entities.get(key) != value for key, value in own.items() if value):
            continue
        # labels such as 01pre carry the run, which markers have no entity for
        digits, run = re.sub(r"\D", "", label), entities.get("run")
        if suffix == "markers" and extension in _MARKERS and (not digits or not run or int(digits) == int(run)):
            markers.append(file)
        elif suffix == "headshape" and extension in _POINTS:
            shapes[label.upper()] = file
    if not markers and not shapes:
        return {}, []
    missing = [] if markers else ["markers"]
    missing += [f"acq-{label} headshape" for label in ("ELP", "HSP") if label not in shapes]
    if missing:
        return {}, [f"coils stay in the device frame: no {' and no '.join(missing)} beside the recording"]
    said = sidecars.merged("coordsystem")
    unit = str(said.get("DigitizedHeadPointsCoordinateUnits", ("mm", ""))[0])
    fiducials = _points(shapes["ELP"], unit)
    if len(fiducials) != 8:
        problem = f"holds {len(fiducials)} points, not three fiducials and five coils"
        raise ReadError(problem, file=shapes["ELP"], field="headshape")
    return {"mrk": sorted(markers), "elp": fiducials, "hsp": _points(shapes["HSP"], unit)}, []


def _beside(path: Path) -> list[Path]:
    """Files in the folder of the recording, and in the folder above where it has a folder of its own."""
    folders = [path.parent, *([path.parent.parent] if path.parent.name.endswith("_meg") else [])]
    return [file for folder in folders for file in folder.iterdir() if file.is_file()]


def _points(path: Path, unit: str) -> np.ndarray:
    try:
        points = np.loadtxt(path, comments="%", ndmin=2)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReadError(f"cannot be read ({reason})", file=path, field="headshape") from None
    if points.shape[1] != 3 or not np.isfinite(points).all() or unit not in METRES:
        problem = f"shape {points.shape} in {unit!r} is not a list of points"
        raise ReadError(problem, file=path, field="headshape", fix="three columns x, y, z in m, cm or mm")
    return points * METRES[unit]
