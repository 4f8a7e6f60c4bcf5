"""What the recipes that come with brainof say about datasets, together: an index page, and the overlap registry."""

from __future__ import annotations

import re
from collections.abc import Collection

import pandas as pd

from ..errors import ConfigError
from .recipe import Entry, Overlap, Recipe, find_recipe, recipe_names

_NAMES = {"eeg": "EEG", "meg": "MEG", "fmri": "fMRI"}

_HEAD = """\
# Datasets

Written by `brainof.datasets.catalogue.page()` from the recipes in `src/brainof/datasets/recipes/`; do not edit.

`brainof prepare NAME --root DIR --out CORPUS` prepares a dataset that you have downloaded; nothing here downloads
anything. Layouts marked **?** were written from published descriptions and have *not been verified against the real
download*: tests prepare a generated miniature of the same layout. Where one is wrong, `files.pattern` and the rest
can be changed in a copy of the recipe. A licence or access condition that was not found in a source is "unknown".
"""


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
    """The published corpus as kinds of windows, a row each: columns of a corpus index, and `count`.

    EEG and MEG at the rate of our preparation; a window of fMRI is a run, as published, at its own repetition time.
    """
    rows = []
    for recipe in recipes():
        if (entry := recipe.published) is not None:
            sfreq, n_times = window_of(entry, recipe.modality)
            row = {"modality": recipe.modality, "dataset": recipe.name, "sfreq": sfreq, "n_times": n_times}
            rows.append({**row, "n_channels": entry.channels, "count": entry.windows, "people": entry.participants})
    return pd.DataFrame(rows)


def window_of(entry: Entry, modality: str) -> tuple[float, int]:
    """Sampling rate and samples of a published window.

    Raises
    ------
    ConfigError
        Its rate or length cannot be read.
    """
    if entry.rate == "multi-site":
        return 0.5, UNKNOWN_VOLUMES
    seconds, rate = (re.fullmatch(r"([\d.]+) (s|Hz|ms)", text) for text in (entry.window, entry.rate))
    if seconds is None or rate is None or seconds[2] != "s":
        raise ConfigError(f"cannot read rate {entry.rate!r}, window {entry.window!r}", field=entry.name)
    sfreq = SFREQ if modality != "fmri" else 1000 / float(rate[1])
    return sfreq, round(float(seconds[1]) * sfreq)


def page() -> str:
    """The index page as Markdown."""
    known = sorted(recipes(), key=lambda recipe: (recipe.modality, recipe.name))
    published = [f"{_about(recipe)} | {_published(recipe)}" for recipe in known if recipe.published is not None]
    evaluation = [f"{_about(recipe)} | {_evaluation(recipe)}" for recipe in known if "evaluation" in recipe.roles]
    rest = [recipe for recipe in known if recipe.published is None and not recipe.roles]
    others = [f"{_about(recipe)} | {', '.join(recipe.tasks) or 'none'} | {recipe.licence}" for recipe in rest]
    overlap = [
        f"`{recipe.name}` | `{evaluation_set}` | {shared.kind} | {shared.why}"
        for recipe in recipes()
        for evaluation_set, shared in recipe.overlap.items()
    ]
    source = "People, windows and rates are those of the publication (arXiv:2602.23410)."
    columns = "recipe | data | people | windows | channels | rate | window | licence | access"
    sections = [
        _table(f"The published pretraining corpus ({len(published)})\n\n{source}", columns, published),
        _table(
            f"Evaluation sets ({len(evaluation)})",
            "recipe | data | task | published split | licence | access",
            evaluation,
        ),
        _table(f"Others ({len(others)})", "recipe | data | tasks | licence", others),
        _table("Overlap registry", "dataset | evaluation set | | why", overlap),
    ]
    return "\n".join([_HEAD, *sections])


def _table(title: str, columns: str, rows: list[str]) -> str:
    rule = "|" + "---|" * len(columns.split("|"))
    return "\n".join([f"## {title}\n", f"| {columns} |", rule, *(f"| {row} |" for row in rows)]) + "\n"


def _about(recipe: Recipe) -> str:
    mark = "" if recipe.layout == "verified" else " **?**"
    title = f"[{recipe.title}]({recipe.url})" if recipe.url else recipe.title
    return f"`{recipe.name}`{mark} | {_NAMES[recipe.modality]}: {title}"


def _published(recipe: Recipe) -> str:
    entry = recipe.published
    assert entry is not None
    numbers = f"{entry.participants:,} | {entry.windows:,} | {entry.channels} | {entry.rate} | {entry.window}"
    return f"{numbers} | {recipe.licence} | {recipe.access or 'open'}"


def _evaluation(recipe: Recipe) -> str:
    splits = [task.published_split for task in recipe.tasks.values() if task.published_split is not None]
    sizes = [f"by {s.by} {len(s.train)}/{len(s.validation)}/{len(s.test)}: " if s.test else "" for s in splits]
    text = "; ".join(size + split.source for size, split in zip(sizes, splits, strict=True)) or "none"
    return f"{', '.join(recipe.tasks) or 'none'} | {text} | {recipe.licence} | {recipe.access or 'open'}"
