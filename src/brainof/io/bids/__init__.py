"""BIDS: an index by directory scan, inheritance of sidecars, and what the sidecars say of a recording."""

from .dataset import BidsDataset, BidsFilter, BidsIndex, index
from .names import BidsFile, parse
from .sidecars import Sidecars

__all__ = ["BidsDataset", "BidsFile", "BidsFilter", "BidsIndex", "Sidecars", "index", "parse"]
