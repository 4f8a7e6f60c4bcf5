"""BIDS: an index by directory scan, inheritance of sidecars, and what the sidecars say of a recording."""

from __future__ import annotations

from .dataset import BidsDataset, BidsIndex, index
from .filters import BidsFilter
from .inherit import sidecar_files
from .names import BidsFile, parse

__all__ = ["BidsDataset", "BidsFile", "BidsFilter", "BidsIndex", "index", "parse", "sidecar_files"]
