"""Figures, tables and one self-contained HTML page of runs, evaluations, explanations and corpora."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "maps": ["draw"],
        "page": ["Image", "Section", "Table", "write_page"],
        "quality": ["write_quality_page"],
        "report": ["report"],
    },
)
