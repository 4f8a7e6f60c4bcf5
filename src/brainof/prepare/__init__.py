"""Recording -> normalised windows: named, serialisable steps. Pure: no dataset, no disk, no processes."""

from .bads import interpolate
from .chain import Chain, default_chain
from .resampling import resample
from .windows import Window, WindowOptions, cut

__all__ = ["Chain", "Window", "WindowOptions", "cut", "default_chain", "interpolate", "resample"]
