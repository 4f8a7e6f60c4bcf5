"""Figures, tables and one self-contained HTML page of runs, evaluations, explanations and corpora."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
