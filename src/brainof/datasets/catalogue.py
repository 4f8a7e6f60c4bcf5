"""What the recipes that come with brainof say together: the published corpus, and the overlap registry."""

from __future__ import annotations

import re
from collections.abc import Collection

import pandas as pd

from ..errors import ConfigError
from .recipe import Overlap, Recipe, find_recipe, recipe_names


def recipes() -> list[Recipe]:
    """All recipes that come with brainof, by name."""
    return [find_recipe(name) for name in recipe_names()]


def overlaps(evaluation: str, among: Collection[str] | None = None) -> dict[str, Overlap]:
    """Datasets (of those in `among`) that share recordings or people with an evaluation set: name -> what is shared."""
    shared = {recipe.name: recipe.overlap[evaluation] for recipe in recipes() if evaluation in recipe.overlap}
    return {name: overlap for name, overlap in shared.items() if among is None or name in among}


#: Volumes of runs whose length and repetition time are not published: the longest window of the recipes for fMRI
UNKNOWN_VOLUMES = 192
#: Hz that EEG and MEG are resampled to (`prepare.chain`)
SFREQ = 256.0


def published_index() -> pd.DataFrame:
    """The published corpus as kinds of windows: columns of a corpus index and `count`, at our rates; fMRI by run."""
    rows = []
    for recipe in recipes():
        if (entry := recipe.published) is not None:
            if entry.rate == "multi-site":
                sfreq, n_times = 0.5, UNKNOWN_VOLUMES
            else:
                seconds, rate = (re.fullmatch(r"([\d.]+) (s|Hz|ms)", text) for text in (entry.window, entry.rate))
                if seconds is None or rate is None or seconds[2] != "s":
                    problem = f"cannot read rate {entry.rate!r}, window {entry.window!r}"
                    raise ConfigError(problem, field=entry.name)
                sfreq = SFREQ if recipe.modality != "fmri" else 1000 / float(rate[1])
                n_times = round(float(seconds[1]) * sfreq)
            row = {"modality": recipe.modality, "dataset": recipe.name, "sfreq": sfreq, "n_times": n_times}
            rows.append({**row, "n_channels": entry.channels, "count": entry.windows, "people": entry.participants})
    return pd.DataFrame(rows)
