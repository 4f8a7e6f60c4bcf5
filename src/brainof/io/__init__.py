"""Files and in-memory objects -> Recording: SI units, positions in metres, what is unknown said in notes."""

from ..recording import Recording
from .formats import FORMATS, format_of
from .memory import from_array, from_image, from_mne
from .options import AtlasOptions, ConfoundOptions, ReadOptions
from .reading import read

__all__ = [
    "FORMATS",
    "AtlasOptions",
    "ConfoundOptions",
    "ReadOptions",
    "Recording",
    "format_of",
    "from_array",
    "from_image",
    "from_mne",
    "read",
]
