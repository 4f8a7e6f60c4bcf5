"""Electrode positions by channel name, and MEG coils, in the head frame.

The head frame is MNE's: origin between the ears (LPA, RPA), +x to the right ear, +y to the nasion, +z up, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from os import PathLike
from typing import Any

import numpy as np

from ..errors import ReadError, check_known
from ..utils.values import counted, listed
from .names import electrodes_of, is_lettered_cap, without_common_reference

#: longest bipolar lead that still has a place: neighbours of the 10-20 system are 5 to 8 cm apart
MAX_BIPOLAR_METRES = 0.10


def electrode_positions(
    names: Sequence[str], montage: str | None = None, file: str | PathLike[str] | None = None
) -> np.ndarray:
    """Template positions of electrodes by name, shape (n, 3), metres in the head frame; NaN where the name is not
    known.

    A referential channel (`EEG Fp1-REF`) sits at its electrode. A bipolar channel (`F7-T7`) sits at the midpoint of its
    two electrodes when both are known and at most 10 cm apart; otherwise it has no place. Names may come in any case,
    with prefixes, dots or references. `montage` is one of MNE (else ReadError); default: 10-05 positions on the Colin
    27 head (old and new 10-20 names); "none" knows none.
    """
    positions = np.full((len(names), 3), np.nan)
    if montage == "none" or (montage is None and is_lettered_cap(names)):
        return positions
    from mne.channels import get_builtin_montages

    montage = montage or default_montage()
    check_known(montage, get_builtin_montages(), ReadError, "unknown montage {!r}", file=file, field="montage")
    known = _template(montage)
    # a montage's own name wins over the reading of a dash as a bipolar lead
    leads = without_common_reference([(name,) if name.upper() in known else electrodes_of(name) for name in names])
    for row, lead in enumerate(leads):
        places = [known.get(electrode.upper()) for electrode in lead]
        if any(place is None for place in places):
            continue
        if len(places) == 2 and np.linalg.norm(places[0] - places[1]) > MAX_BIPOLAR_METRES:  # type: ignore[operator]
            continue
        positions[row] = np.mean(places, axis=0)  # type: ignore[arg-type]
    return positions


def position_notes(names: Sequence[str], positions: np.ndarray, n_by_name: int, montage: str | None) -> list[str]:
    """How many positions come by name from the `montage`, and which are unknown."""
    notes = [f"{counted(n_by_name, 'position', 'come')} from the {montage or default_montage()} montage by name"]
    unknown = [name for name, place in zip(names, positions, strict=True) if np.isnan(place).any()]
    said = f"no position for {len(unknown)} of {len(names)} channels: {listed(unknown)}"
    return [*(notes if n_by_name else []), *([said] if unknown else [])]


def default_montage() -> str:
    """The name of the 10-05 template on the Colin 27 head in the installed MNE."""
    from mne.channels import get_builtin_montages

    return "colin27_1005" if "colin27_1005" in get_builtin_montages() else "standard_1005"


@lru_cache(maxsize=8)
def _template(name: str) -> dict[str, np.ndarray]:
    from mne.channels import make_standard_montage, transform_to_head

    places = transform_to_head(make_standard_montage(name)).get_positions()["ch_pos"]
    return {electrode.upper(): np.asarray(place, dtype=np.float64) for electrode, place in places.items()}


def digitised_electrodes(info: Any, picks: Sequence[int]) -> tuple[np.ndarray, bool]:
    """Electrode positions (n, 3) that the file itself holds, metres, and whether they are in the head frame.

    Spherical templates of EEGLAB and BrainVision have their origin in the centre of a sphere, 4 cm above the ears; MNE
    labels them "head" and may add fiducials on the sphere. Such positions are not in the head frame: real fiducials, or
    the FIF or CTF convention, vouch for it.
    """
    from mne._fiff.constants import FIFF

    positions = np.array([info["chs"][pick]["loc"][:3] for pick in picks], dtype=np.float64).reshape(-1, 3)
    positions[~np.isfinite(positions).all(axis=1) | (np.abs(positions).max(axis=1, initial=0) == 0)] = np.nan
    of_head = (FIFF.FIFFV_POINT_CARDINAL, FIFF.FIFFV_COORD_HEAD)
    fiducials = {int(p["ident"]): p["r"] for p in info["dig"] or [] if (p["kind"], p["coord_frame"]) == of_head}
    if len(fiducials) < 3:
        return positions, False
    idents = (FIFF.FIFFV_POINT_NASION, FIFF.FIFFV_POINT_LPA, FIFF.FIFFV_POINT_RPA)
    nasion, left, right = (np.asarray(fiducials[ident], dtype=np.float64) for ident in idents)
    on_axes = max(abs(nasion[0]), abs(nasion[2]), *np.abs(left[1:]), *np.abs(right[1:])) < 2e-3
    radius = np.nanmean(np.linalg.norm(positions, axis=1)) if np.isfinite(positions).any() else np.nan
    sizes = np.array([np.linalg.norm(point) for point in (nasion, left, right)])
    # MNE puts missing fiducials at exactly the mean radius of the electrodes
    invented = np.ptp(sizes) < 1e-6 and abs(sizes[0] - radius) < 1e-3
    return positions, bool(on_axes and not invented)


def coils(info: Any, picks: Sequence[int]) -> tuple[np.ndarray, np.ndarray, str]:
    """Positions (metres) and unit normals of MEG coils, (n, 3), NaN if unknown; frame: head, or device if not tied."""
    loc = np.array([info["chs"][pick]["loc"] for pick in picks], dtype=np.float64).reshape(-1, 12)
    positions, normals = loc[:, :3].copy(), loc[:, 9:12].copy()
    length = np.linalg.norm(normals, axis=1)
    unknown = ~np.isfinite(loc[:, :3]).all(axis=1) | ~(length > 0.5)
    positions[unknown] = normals[unknown] = np.nan
    normals /= np.where(unknown, 1.0, length)[:, None]
    transform = info["dev_head_t"]
    # readers write the identity where head position was never measured
    if transform is None or (np.allclose(transform["trans"], np.eye(4)) and not info["dig"]):
        return positions, normals, "device"
    trans = transform["trans"]
    return positions @ trans[:3, :3].T + trans[:3, 3], normals @ trans[:3, :3].T, "head"
