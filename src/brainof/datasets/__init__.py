"""Dataset -> corpus: recipes (YAML), discovery of files, labels, events, and the run over all recordings."""

from .fetch import fetch_chb_mit, fetch_eegmat, fetch_eegmmidb
from .recipe import Recipe, find_recipe, recipe_names
from .run import Summary, prepare

__all__ = [
    "Recipe",
    "Summary",
    "fetch_chb_mit",
    "fetch_eegmat",
    "fetch_eegmmidb",
    "find_recipe",
    "prepare",
    "recipe_names",
]
