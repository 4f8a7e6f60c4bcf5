"""What the recipes that come with brainof say about datasets, together: an index page, and the overlap registry."""

from __future__ import annotations

from collections.abc import Collection

from .recipe import Overlap, Recipe, find_recipe, recipe_names

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
    """Datasets that share recordings or people with an evaluation set: name -> what they share.

    Parameters
    ----------
    evaluation : str
        Name of its recipe.
    among : collection of str, optional
        Only these datasets.
    """
    shared = {recipe.name: recipe.overlap[evaluation] for recipe in recipes() if evaluation in recipe.overlap}
    return {name: overlap for name, overlap in shared.items() if among is None or name in among}


def page() -> str:
    """The index page as Markdown."""
    known = recipes()
    parts = [_HEAD]
    for title, chosen in (
        ("The published pretraining corpus", [recipe for recipe in known if recipe.published is not None]),
        ("Evaluation sets", [recipe for recipe in known if "evaluation" in recipe.roles]),
        ("Others", [recipe for recipe in known if recipe.published is None and not recipe.roles]),
    ):
        lines = [f"## {title} ({len(chosen)})", ""]
        if title.startswith("The published"):
            lines += ["People, windows and rates are those of the publication (arXiv:2602.23410).", ""]
            lines += ["| recipe | data | people | windows | channels | rate | window | licence | access |"]
            lines += ["|---|---|---|---|---|---|---|---|---|"]
        elif title == "Evaluation sets":
            lines += ["| recipe | data | task | published split | licence | access |", "|---|---|---|---|---|---|"]
        else:
            lines += ["| recipe | data | tasks | licence |", "|---|---|---|---|"]
        lines += [_row(recipe, title) for recipe in sorted(chosen, key=lambda r: (r.modality, r.name))]
        parts.append("\n".join(lines) + "\n")
    parts.append(_overlap_section(known))
    return "\n".join(parts)


def _row(recipe: Recipe, title: str) -> str:
    name = f"`{recipe.name}`" + ("" if recipe.layout == "verified" else " **?**")
    data = f"{_NAMES[recipe.modality]}: " + (f"[{recipe.title}]({recipe.url})" if recipe.url else recipe.title)
    access = recipe.access or "open"
    if title == "Evaluation sets":
        tasks = ", ".join(recipe.tasks) or "none"
        splits = [task.published_split for task in recipe.tasks.values() if task.published_split is not None]
        sizes = [f"by {s.by} {len(s.train)}/{len(s.validation)}/{len(s.test)}: " if s.test else "" for s in splits]
        text = "; ".join(size + split.source for size, split in zip(sizes, splits, strict=True)) or "none"
        return f"| {name} | {data} | {tasks} | {text} | {recipe.licence} | {access} |"
    entry = recipe.published
    if entry is not None:
        numbers = f"{entry.participants:,} | {entry.windows:,} | {entry.channels} | {entry.rate} | {entry.window}"
        return f"| {name} | {data} | {numbers} | {recipe.licence} | {access} |"
    return f"| {name} | {data} | {', '.join(recipe.tasks) or 'none'} | {recipe.licence} |"


def _overlap_section(known: list[Recipe]) -> str:
    lines = ["## Overlap registry", "", "| dataset | evaluation set | | why |", "|---|---|---|---|"]
    for recipe in known:
        for evaluation, shared in recipe.overlap.items():
            lines.append(f"| `{recipe.name}` | `{evaluation}` | {shared.kind} | {shared.why} |")
    return "\n".join(lines) + "\n"
