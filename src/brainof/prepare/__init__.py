"""Recording -> normalised windows: named, serialisable steps. Pure: no dataset, no disk, no processes."""

from .chain import Chain, default_chain
from .interpolation import interpolate
from .resampling import resample
from .windows import Window, WindowOptions, cut

__all__ = ["Chain", "Window", "WindowOptions", "cut", "default_chain", "interpolate", "resample"]
