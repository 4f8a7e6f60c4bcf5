"""Dataset -> corpus: recipes (YAML), discovery of files, labels, events, and the run over all recordings."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
