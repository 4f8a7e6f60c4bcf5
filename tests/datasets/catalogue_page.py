"""The page of all recipes, docs/guide/datasets.md: `python -m tests.datasets.catalogue_page` writes it again."""

from __future__ import annotations

from pathlib import Path

import jinja2

from brainof.datasets import Recipe
from brainof.datasets.catalogue import recipes

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "datasets.md"


def page() -> str:
    """The index page as Markdown."""
    known = sorted(recipes(), key=lambda recipe: (recipe.modality, recipe.name))
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return template.from_string(Path(__file__).with_name("catalogue_page.md").read_text(encoding="utf-8")).render(
        names={"eeg": "EEG", "meg": "MEG", "fmri": "fMRI"},
        published=[recipe for recipe in known if recipe.published is not None],
        evaluation=[recipe for recipe in known if "evaluation" in recipe.roles],
        others=[recipe for recipe in known if recipe.published is None and not recipe.roles],
        by_name=recipes(),
        splits=_splits,
    )


def _splits(recipe: Recipe) -> str:
    """The published splits of its tasks: how many subjects are on each side, and the source."""
    splits = [task.published_split for task in recipe.tasks.values() if task.published_split is not None]
    sizes = [f"by {s.by} {len(s.train)}/{len(s.validation)}/{len(s.test)}: " if s.test else "" for s in splits]
    return "; ".join(size + split.source for size, split in zip(sizes, splits, strict=True))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
