"""Brain-OF inside other tools: braindecode and MOABB, xarray and pandas, MNE, nilearn, live streams.

Nothing here is imported by the rest of the package, and the optional packages are imported where they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .frames import to_metadata as to_metadata
    from .frames import to_xarray as to_xarray
    from .lsl import stream_lsl as stream_lsl
    from .module import BrainOFModule as BrainOFModule
    from .nilearn import from_masker as from_masker
    from .nilearn import to_regressors as to_regressors
    from .stream import Calibration as Calibration
    from .stream import StreamingEmbedder as StreamingEmbedder
    from .stream import calibrate as calibrate

_HOMES = {
    "BrainOFModule": ".module",
    "Calibration": ".stream",
    "StreamingEmbedder": ".stream",
    "calibrate": ".stream",
    "from_masker": ".nilearn",
    "stream_lsl": ".lsl",
    "to_metadata": ".frames",
    "to_regressors": ".nilearn",
    "to_xarray": ".frames",
}

__all__ = [
    "BrainOFModule",
    "Calibration",
    "StreamingEmbedder",
    "calibrate",
    "from_masker",
    "stream_lsl",
    "to_metadata",
    "to_regressors",
    "to_xarray",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
