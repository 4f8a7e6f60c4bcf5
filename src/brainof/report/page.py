"""One self-contained HTML file per run: text, figures as inline PNG, tables. No script, no outside resource."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..utils.files import write_atomically
from .style import png

#: Pixels per inch of the figures; they are shown at half their size, sharp on dense screens
DPI = 150


@dataclass(frozen=True)
class Image:
    """A figure (or PNG bytes) with a caption, and a text for those who cannot see it."""

    figure: Figure | bytes
    caption: str
    alt: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """A DataFrame with a caption. `digits` is the number of decimals of each column, or of the columns named."""

    frame: pd.DataFrame
    caption: str = ""
    digits: int | dict[str, int] = 3


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs, then figures, then tables."""

    title: str
    text: Sequence[str] = ()
    images: Sequence[Image] = ()
    tables: Sequence[Table] = field(default=())


def write_page(path: str | PathLike[str], sections: Sequence[Section], title: str = "Brain-OF", lead: str = "") -> Path:
    """Write sections as one HTML file; it appears complete or not at all.

    Parameters
    ----------
    path : path
    sections : sequence of Section
    title, lead : str
        Heading, and the sentence under it.

    Returns
    -------
    path : Path

    Raises
    ------
    StorageError
        The disk is full or the folder cannot be written.
    """
    path = Path(path)
    write_atomically(path, [render(sections, title, lead).encode()])
    return path


def render(sections: Sequence[Section], title: str = "Brain-OF", lead: str = "") -> str:
    """The page as text; everything in it is escaped."""
    source = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    values = [
        {
            "title": section.title,
            "text": list(section.text),
            "images": [_image(image) for image in section.images],
            "tables": [_table(table) for table in section.tables],
        }
        for section in sections
    ]
    return environment.from_string(source).render(title=title, lead=lead, sections=values)


def _image(image: Image) -> dict[str, Any]:
    data = image.figure if isinstance(image.figure, bytes) else png(image.figure, DPI)
    width = struct.unpack(">I", data[16:20])[0]  # the first field of the PNG header
    return {
        "data": base64.b64encode(data).decode(),
        "caption": image.caption,
        "alt": image.alt or image.caption,
        "width": round(width * 100 / DPI),
    }


def _table(table: Table) -> dict[str, Any]:
    frame = table.frame
    digits = table.digits if isinstance(table.digits, dict) else dict.fromkeys(map(str, frame), table.digits)
    text = {name: not pd.api.types.is_numeric_dtype(frame[name]) for name in frame}
    rows = [
        [_cell(value, digits.get(str(name), 3), text[name]) for name, value in zip(frame, row, strict=True)]
        for row in frame.itertuples(index=False, name=None)
    ]
    columns = [{"name": str(name), "text": text[name]} for name in frame]
    return {"caption": table.caption, "columns": columns, "rows": rows}


def _cell(value: Any, digits: int, text: bool) -> dict[str, str]:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return {"text": "–", "kind": "missing"}
    if isinstance(value, (bool, np.bool_)):
        return {"text": "yes" if value else "no", "kind": "text"}
    if isinstance(value, (float, np.floating)):
        return {"text": f"{value:.{digits}f}", "kind": "text" if text else ""}
    return {"text": str(value), "kind": "text" if text else ""}
