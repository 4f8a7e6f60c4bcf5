"""The channel table: what each row of a recording is, and where it sits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from .errors import RecordingError

Modality = Literal["eeg", "meg", "fmri"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)

SensorType = Literal["eeg", "mag", "grad", "axial", "roi"]
#: eeg electrode | magnetometer | planar gradiometer | axial gradiometer (CTF, KIT, BTi) | region or voxel of an atlas
SENSOR_TYPES: tuple[SensorType, ...] = get_args(SensorType)

#: SI unit of the data of each sensor type
UNITS: dict[str, str] = {"eeg": "V", "mag": "T", "grad": "T/m", "axial": "T", "roi": "a.u."}
#: SI unit -> the unit that people read, and its factor
SHOWN_UNITS = {"V": ("µV", 1e6), "T": ("fT", 1e15), "T/m": ("fT/cm", 1e13), "a.u.": ("a.u.", 1.0)}

MODALITY_OF_TYPE: dict[str, Modality] = {"eeg": "eeg", "mag": "meg", "grad": "meg", "axial": "meg", "roi": "fmri"}

#: Words in the names of regions that say nothing about the network
_SIDES = re.compile(r"^(?:(?:7|17)Networks|Schaefer\d*|LH|RH|L|R|lh|rh|left|right)$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Channels:
    """Names, types and geometry of n channels or regions.

    Attributes
    ----------
    names : tuple of str
        Unique names.
    types : tuple of str
        One of SENSOR_TYPES each; the type fixes the unit (`units`).
    positions : ndarray, shape (n, 3), float64
        Metres in `frame`; a row of NaN is an unknown position. Positions are never guessed.
    orientations : ndarray, shape (n, 3), float64
        Unit normals of MEG coils in `frame`; NaN where there is none.
    labels : ndarray, shape (n,), int64
        Atlas label ids; -1 where there is none.
    order : ndarray, shape (n,), int64
        Rank of the region in the fixed order of its atlas (kept when regions are left out); -1 where there is none.
    frame : str
        Coordinate frame: "head" (nasion/LPA/RPA), "mni", "device" (MEG without a head transform), "scanner"
        (fMRI that was not normalised) or "unknown".
    atlas : str or None
        Name of the atlas the regions come from.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    positions: np.ndarray = None  # type: ignore[assignment]
    orientations: np.ndarray = None  # type: ignore[assignment]
    labels: np.ndarray = None  # type: ignore[assignment]
    order: np.ndarray = None  # type: ignore[assignment]
    frame: str = "unknown"
    atlas: str | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        set_ = object.__setattr__
        set_(self, "names", tuple(map(str, self.names)))
        set_(self, "types", tuple(self.types))
        for name in ("positions", "orientations"):
            value = getattr(self, name)
            value = np.full((n, 3), np.nan) if value is None else np.array(value, dtype=np.float64)
            value[~np.isfinite(value).all(axis=1)] = np.nan  # half a position is no position
            set_(self, name, value)
        for name in ("labels", "order"):
            value = getattr(self, name)
            set_(self, name, np.full(n, -1, np.int64) if value is None else np.array(value, dtype=np.int64))
        for name in ("types", "positions", "orientations", "labels", "order"):
            if len(getattr(self, name)) != n:
                raise RecordingError(f"{len(getattr(self, name))} values for {n} channels", field=f"channels.{name}")
        if len(set(self.names)) != n:
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise RecordingError(f"channel name {twice!r} occurs twice", field="channels.names")
        for kind in self.types:
            if kind not in SENSOR_TYPES:
                raise RecordingError(f"unknown sensor type {kind!r}", field="channels.types", fix=f"{SENSOR_TYPES}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def units(self) -> tuple[str, ...]:
        """SI unit of each channel."""
        return tuple(UNITS[kind] for kind in self.types)

    @property
    def located(self) -> np.ndarray:
        """Bool (n,): True where the position is known."""
        return np.all(np.isfinite(self.positions), axis=1)

    def take(self, indices: Sequence[int] | np.ndarray) -> Channels:
        """The table of a subset, in the order of `indices`."""
        indices = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            names=tuple(self.names[i] for i in indices),
            types=tuple(self.types[i] for i in indices),
            **{name: getattr(self, name)[indices] for name in ("positions", "orientations", "labels", "order")},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; geometry is rounded to 10 micrometres, unknown rows are null."""

        def rows(values: np.ndarray) -> list[list[float] | None]:
            # adding zero turns -0.0 into 0.0, so that equal tables have equal text
            return [None if np.isnan(row).any() else (row.round(5) + 0.0).tolist() for row in values]

        return {
            "names": list(self.names),
            "types": list(self.types),
            "positions": rows(self.positions),
            "orientations": rows(self.orientations),
            "labels": self.labels.tolist(),
            "order": self.order.tolist(),
            "frame": self.frame,
            "atlas": self.atlas,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Channels:
        """Inverse of `to_dict`."""
        unknown = [np.nan] * 3

        def rows(name: str) -> np.ndarray:
            return np.array([unknown if row is None else row for row in values[name]], dtype=np.float64).reshape(-1, 3)

        return cls(**values | {name: rows(name) for name in ("positions", "orientations")})

    @property
    def digest(self) -> str:
        """Content hash of the table (16 hex digits): equal tables have equal digests."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def network_of(region: str) -> str:
    """The network in the name of a region: Vis of 7Networks_LH_Vis_1, visual of L_visual_1; empty where there is none.

    A name without a number at its end (Precentral_L) is that of an anatomical region, not of a part of a network.
    """
    words = region.split("_")
    if not words[-1].isdigit():
        return ""
    words = [word for word in words[:-1] if not _SIDES.match(word)]
    schaefer = region.startswith(("7Networks", "17Networks"))
    return words[0] if schaefer and words else "_".join(words)
