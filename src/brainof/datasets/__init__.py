"""Dataset -> corpus: recipes (YAML), discovery of files, labels, events, and the run over all recordings."""

from __future__ import annotations

from .recipe import Recipe, find_recipe, recipe_names
from .run import Source, Summary, prepare, prepare_sources

__all__ = ["Recipe", "Source", "Summary", "find_recipe", "prepare", "prepare_sources", "recipe_names"]
