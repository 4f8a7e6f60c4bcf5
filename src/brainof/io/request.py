"""What every reader gets: one file and all that was said about how to read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .bids.sidecars import Sidecars
from .options import ReadOptions


@dataclass(frozen=True)
class ReadRequest:
    """One file to read."""

    path: Path
    format: str
    """A value of `FORMATS`."""
    modality: str | None
    """None where the file decides."""
    options: ReadOptions
    entities: dict[str, str]
    """BIDS entities of the recording."""
    root: Path
    """Dataset root: atlas paths are relative to it, and paths inside the file must not leave it."""
    sidecars: Sidecars
    """Of the BIDS dataset the file lies in; found once."""
