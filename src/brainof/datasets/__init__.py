"""Dataset -> corpus: recipes (YAML), discovery of files, labels, events, and the run over all recordings."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "fetch": ["fetch_chb_mit", "fetch_eegmat", "fetch_eegmmidb"],
        "recipe": ["Recipe", "find_recipe", "recipe_names"],
        "run": ["Summary", "prepare"],
    },
)
