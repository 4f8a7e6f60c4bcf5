"""The one reader of text tables (tsv, csv, white space): every cell stays the text that is written.

pandas' reader guesses: a first column is an index where rows end in a separator, `NA` is missing, `01` is 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ..errors import BrainOFError, LabelError

_SEPARATORS = {".tsv": "\t", ".csv": ","}
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def decoded(content: bytes) -> tuple[str, list[str]]:
    """Text of a file by its byte order mark, else as UTF-8, else as Latin-1 with a note."""
    code = next((code for mark, code in _BOMS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(code), []
    except UnicodeDecodeError:
        return content.decode("latin-1"), ["is not UTF-8 and was read as Latin-1: save it as UTF-8"]


def read_text_table(
    path: Path, columns: Sequence[str] | None = None, error: type[BrainOFError] = LabelError
) -> tuple[pd.DataFrame, list[str]]:
    """A table of text, and notes on what was odd.

    `.csv` and `.tsv` by their separators, anything else by white space. `columns` are the names of those of a table
    without a header line (empty: numbers from 0). Cells come without the white space around them; short rows are filled
    with empty text; an empty file has no columns.

    Raises `error`: it cannot be read, or a row has more cells than the header.
    """
    try:
        text, notes = decoded(path.read_bytes())
        rows = list(_rows(text, _SEPARATORS.get(path.suffix.lower())))
    except (OSError, csv.Error) as problem:
        raise error(f"table cannot be read ({problem})", file=path) from None
    if columns is not None and not columns and rows:
        columns = [str(number) for number in range(max(len(row) for _, row in rows))]
    header = list(columns) if columns is not None else [name.strip() for name in rows.pop(0)[1]] if rows else []
    if columns is None:
        while header and not header[-1]:  # a separator at the end of the line
            header.pop()
    width, cells = len(header), []
    for line, row in rows:
        values = [value.strip() for value in row]
        if any(values[width:]):
            said = f"line {line} has {len(values)} cells, the header has {width}"
            raise error(said, file=path, fix="correct the line")
        cells.append([*values[:width], *[""] * (width - len(values))])
    names = pd.Series(header, dtype=str)
    number = names.groupby(names).cumcount()
    names = names.where(number == 0, names + "." + number.astype(str))  # as pandas writes those that occur twice
    return pd.DataFrame(cells, columns=names.tolist(), dtype=str), [f"{path.name} {note}" for note in notes]


def _rows(text: str, separator: str | None) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    if "\0" in text:
        raise csv.Error("it holds bytes that are not text")
    if separator is None:
        yield from ((n, line.split()) for n, line in enumerate(text.splitlines(), start=1) if line.strip())
        return
    lines = io.StringIO(text, newline=None).read().split("\n")
    # a quote that is never closed would swallow the lines that follow
    quoting = csv.QUOTE_NONE if any(line.count('"') % 2 for line in lines) else csv.QUOTE_MINIMAL
    reader = csv.reader(lines, delimiter=separator, quoting=quoting)  # type: ignore[arg-type]
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row
