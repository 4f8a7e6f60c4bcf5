"""Dataset recipes, and the way from a Recording to normalised windows."""

from __future__ import annotations

from .chain import Chain, default_chain
from .recipe import Recipe, find_recipe, recipe_names
from .windows import Window, WindowOptions, cut

__all__ = [
    "Chain",
    "Recipe",
    "Summary",
    "Window",
    "WindowOptions",
    "cut",
    "default_chain",
    "find_recipe",
    "prepare",
    "recipe_names",
]


def __getattr__(name: str):
    # run.py needs the corpus (and torch); a chain does not
    if name in ("prepare", "Summary"):
        from . import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
