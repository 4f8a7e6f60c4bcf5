"""One self-contained HTML file: text, figures, sortable tables, and the numbers as JSON; nothing is loaded."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from ..paths import user_path
from ..utils.files import write_atomically
from ..utils.provenance import provenance as current
from ..utils.values import finite
from .style import svg


@dataclass(frozen=True)
class Image:
    """A figure (or SVG bytes) with a caption, and a text for those who cannot see it."""

    figure: Figure | bytes
    caption: str
    alt: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """A DataFrame with a caption. `digits`: decimals of each column, or of those named."""

    frame: pd.DataFrame
    caption: str = ""
    digits: int | dict[str, int] = 3
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs, a list, text to copy, then figures, then tables."""

    title: str
    text: Sequence[str] = ()
    images: Sequence[Image] = ()
    tables: Sequence[Table] = field(default=())
    points: Sequence[str] = ()
    paste: Sequence[str] = ()


def write_page(
    path: str | PathLike[str], sections: Sequence[Section], title: str = "Brain-OF", lead: str = "", **more: Any
) -> Path:
    """Write sections as one HTML file, which appears complete or not at all; `lead` is the sentence under the heading.

    `more` are `provenance` and `data` of `render`. A StorageError where the folder cannot be written.
    """
    path = user_path(path)
    write_atomically(path, [render(sections, title, lead, **more).encode(errors="backslashreplace")])
    return path


def render(
    sections: Sequence[Section],
    title: str = "Brain-OF",
    lead: str = "",
    provenance: Mapping[str, str] | None = None,
    data: Any = None,
) -> str:
    """The page as text; everything in it is escaped.

    `provenance` stands at the foot (version, commit and date of now without it); `data` are JSON values for machines
    (the tables of the page without them).
    """
    if data is None:
        tables = [table.frame for section in sections for table in section.tables]
        data = {"tables": [table.astype(object).where(table.notna(), None).to_dict("records") for table in tables]}
    values = [
        {**vars(section), "images": map(_image, section.images), "tables": map(_table, section.tables)}
        for section in sections
    ]
    # a "<" inside a script element could end it
    text = Markup(json.dumps(finite(data, 9), default=str, ensure_ascii=False).replace("<", "\\u003c"))
    foot = current() if provenance is None else provenance
    return _template().render(title=title, lead=lead, sections=values, provenance={"version": "", **foot}, data=text)


@cache
def _template() -> jinja2.Template:
    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(source)


def _image(image: Image) -> dict[str, Any]:
    data = image.figure if isinstance(image.figure, bytes) else svg(image.figure)
    width, height = (float(value) * 100 / 72 for value in re.findall(rb'(?:width|height)="([\d.]+)pt"', data)[:2])
    words = {"caption": image.caption, "alt": image.alt or image.caption}
    return {**words, "data": base64.b64encode(data).decode(), "width": round(width), "height": round(height)}


def _table(table: Table) -> dict[str, Any]:
    frame = table.frame
    digits = table.digits if isinstance(table.digits, dict) else dict.fromkeys(map(str, frame), table.digits)
    number = pd.api.types.is_numeric_dtype
    text = {name: not number(frame[name]) or pd.api.types.is_bool_dtype(frame[name]) for name in frame}
    rows = [
        [_cell(value, digits.get(str(name), 3), text[name], str(name)) for name, value in zip(frame, row, strict=True)]
        for row in frame.itertuples(index=False, name=None)
    ]
    columns = [{"name": str(name), "text": text[name]} for name in frame]
    return {"caption": table.caption, "columns": columns, "rows": rows, "folded": table.folded}


def _cell(value: Any, digits: int, text: bool, name: str) -> dict[str, str]:
    if value is None or value is pd.NA or (isinstance(value, float) and not np.isfinite(value)):
        return {"text": "–", "kind": "missing text" if text else "missing"}
    if isinstance(value, (bool, np.bool_)):
        return {"text": "yes" if value else "no", "kind": "text"}
    if isinstance(value, (float, np.floating)):
        least = 10.0**-digits
        small = name.startswith("p ") and value < least  # a p value is never 0
        return {"text": f"<{least:g}" if small else f"{value:z.{digits}f}", "kind": "text" if text else ""}
    return {"text": str(value), "kind": "text" if text else ""}
