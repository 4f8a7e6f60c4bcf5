"""Tables for people: drawn by rich (extra `terminal`) on a terminal, plain columns in pipes and logs, Markdown."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO


def table(rows: Sequence[Mapping[str, Any]], stream: TextIO) -> str:
    """Rows as a table as `stream` can show it: ruled, under the names of its columns, or a plain line for each row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [["" if row.get(name) is None else str(row[name]) for name in names] for row in rows]
    if stream.isatty() and not os.environ.get("CI") and importlib.util.find_spec("rich"):
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*names, box=box.SIMPLE_HEAD, pad_edge=False)
        for line in cells:
            drawn.add_row(*map(Text, line))  # what looks like markup is not
        shown = io.StringIO()
        Console(file=shown, force_terminal=True, width=shutil.get_terminal_size().columns).print(drawn)
        return "\n".join(line for line in shown.getvalue().splitlines() if line.strip())  # no frame, only its space
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts under its heads; line breaks become spaces, and bars do not end a cell."""
    lines = [
        "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in row) + " |" for row in (heads, *rows)
    ]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])
