"""What a model uses, each map beside its nulls: untrained weights, and permuted labels where there are labels."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
