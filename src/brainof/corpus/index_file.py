"""Index rows as Parquet files that notice every change to them and hand out single columns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from ..errors import CorpusError
from ..utils.checksum import crc32c
from ..utils.files import parse_json, write_atomically
from .index import COLUMNS, LABEL, column_type, column_values

_ABOUT, _CHECKSUM = b"brainof", b"brainof.crc32c"

#: Text that occurs in millions of rows must stay one dictionary: by default the library gives up at 1 MB and spells out
#: every row, and makes a dictionary for each million of rows
_DICTIONARY_BYTES, _ROWS = 1 << 28, 1 << 23

#: Rows of a column that are decoded at a time: a few MB
_ROWS_AT_ONCE = 1 << 19


def write_index(
    path: Path, table: pa.Table, shards: Sequence[str], *, ordered: bool = False, deleted: Sequence[str] = ()
) -> None:
    """Write index rows by rename, beside what `IndexFile` tells of them."""
    values = {"columns": table.column_names, "shards": list(shards), "rows": len(table)}
    about = json.dumps({**values, "ordered": ordered, "deleted": list(deleted)}).encode()
    # Parquet checks its pages only, so the names of columns and shards get a checksum of their own
    table = table.replace_schema_metadata({_ABOUT: about, _CHECKSUM: str(crc32c(about))})
    sink = pa.BufferOutputStream()
    limits: Any = {"dictionary_pagesize_limit": _DICTIONARY_BYTES, "row_group_size": _ROWS}
    parquet.write_table(table, sink, write_page_checksum=True, **limits)
    write_atomically(path, [memoryview(sink.getvalue())])


class IndexFile:
    """An index file whose columns are read when they are asked for; damage is a CorpusError with `fix`.

    `shards` are those whose rows these are, `deleted` the names of the deletions that were applied; `ordered` rows are
    final: in canonical order, none superseded or deleted.
    """

    def __init__(self, path: Path, fix: str) -> None:
        self.path, self._fix = path, fix
        with self._named():
            # stays open, so that a file that is replaced meanwhile is not read half old, half new
            self._file = parquet.ParquetFile(
                pa.OSFile(os.fsencode(path)), page_checksum_verification=True, pre_buffer=False
            )
            types = {field.name: field.type for field in self._file.schema_arrow}
            metadata = self._file.schema_arrow.metadata or {}
            about = metadata.get(_ABOUT, b"")
            if metadata.get(_CHECKSUM) != str(crc32c(about)).encode():
                raise ValueError("its checksum differs")
            described = parse_json(about)
            labels = {name for name in types if name.startswith(LABEL)}
            right = {name: column_type(name) for name in types}
            if list(types) != described["columns"] or set(types) != {*COLUMNS, *labels} or types != right:
                raise ValueError("its columns are not those of an index")
            self._rows = int(described.get("rows", self._file.metadata.num_rows))
            self._check_rows(self._file.metadata.num_rows)
        self.columns = list(types)
        self.shards = set(described["shards"])
        self.deleted = set(described.get("deleted", ()))
        self.ordered = bool(described.get("ordered", False))

    def __len__(self) -> int:
        return self._rows

    def read(self) -> pa.Table:
        """All columns."""
        with self._named():
            table = self._file.read(use_threads=False)
            table.validate(full=True)
            self._check_rows(len(table))
        return table.replace_schema_metadata(None)

    def column(self, name: str) -> pd.Categorical | np.ndarray:
        """One column as `index.column_values` gives it, read part by part: its Arrow form would take as much again."""
        with self._named():
            return column_values(name, self._parts(name), self._rows)

    def _parts(self, name: str) -> Iterator[pa.Array]:
        n_rows = 0
        for part in self._file.iter_batches(_ROWS_AT_ONCE, columns=[name], use_threads=False):
            part.validate(full=True)
            n_rows += len(part)
            if n_rows > self._rows:
                break
            yield part.column(0)
        self._check_rows(n_rows)

    def _check_rows(self, n_rows: int) -> None:
        if n_rows != self._rows:
            raise ValueError("it does not hold all rows")

    @contextmanager
    def _named(self) -> Iterator[None]:
        # a damaged file raises whatever the part that met the damage raises (text that is no text, places out of range)
        try:
            yield
        except (OSError, pa.ArrowException, ValueError, IndexError, KeyError, TypeError) as error:
            why = (str(error).splitlines() or ["unreadable"])[0]
            raise CorpusError(f"is damaged ({why})", file=self.path, fix=self._fix) from None
