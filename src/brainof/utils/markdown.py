"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts under its heads; line breaks become spaces, and bars do not end a cell."""
    lines = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in row) + " |" for row in (heads, *rows)
    ]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])
