"""BIDS: an index by directory scan, inheritance of sidecars, and what the sidecars say of a recording."""

from __future__ import annotations

from .dataset import BidsDataset, BidsIndex, index
from .filters import BidsFilter
from .names import BidsFile, parse
from .sidecars import Sidecars

__all__ = ["BidsDataset", "BidsFile", "BidsFilter", "BidsIndex", "Sidecars", "index", "parse"]
