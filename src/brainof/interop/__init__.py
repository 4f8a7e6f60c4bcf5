"""Brain-OF inside other tools: braindecode and MOABB, xarray and pandas, MNE, nilearn, LSL.

Nothing here is imported by the rest of the package, and the optional packages are imported where they are used.
"""

from __future__ import annotations

from .frames import to_metadata, to_xarray
from .lsl import stream_lsl
from .module import BrainOFModule
from .nilearn import from_masker, to_regressors

__all__ = ["BrainOFModule", "from_masker", "stream_lsl", "to_metadata", "to_regressors", "to_xarray"]
