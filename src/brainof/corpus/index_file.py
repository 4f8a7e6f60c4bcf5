"""Index rows as Parquet files that notice every change to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
from google_crc32c import value as crc32c

from ..errors import CorpusError
from ..files import write_atomically
from .index import COLUMNS, LABEL, column_type

_ABOUT, _CHECKSUM = b"brainof", b"brainof.crc32c"


def write_index(path: Path, table: pa.Table, shards: Sequence[str]) -> None:
    """Write index rows, and the names of the shards they cover, by rename.

    Parquet checks its pages only; the names of columns and shards get a checksum of their own.

    Raises
    ------
    StorageError
        The disk is full or the folder cannot be written.
    """
    about = json.dumps({"columns": table.column_names, "shards": list(shards)}).encode()
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({_ABOUT: about, _CHECKSUM: str(crc32c(about))})
    parquet.write_table(table, sink, write_page_checksum=True)
    write_atomically(path, [memoryview(sink.getvalue())])


def read_index(path: Path, fix: str) -> tuple[pa.Table, set[str]]:
    """Index rows and the names of the shards they cover.

    Raises
    ------
    CorpusError
        The file is damaged; `fix` says what to do.
    """
    try:
        # read in one go: a file that is replaced meanwhile must not be read half old, half new
        table = parquet.read_table(pa.BufferReader(path.read_bytes()), page_checksum_verification=True)
        table.validate(full=True)
        types = {field.name: field.type for field in table.schema}
    # a damaged file raises whatever the part that met the damage raises (text that is not text, places out of range)
    except (OSError, pa.ArrowException, ValueError, IndexError) as error:
        why = (str(error).splitlines() or ["unreadable"])[0]
        raise CorpusError(f"is damaged ({why})", file=path, fix=fix) from None
    metadata = table.schema.metadata or {}
    about = metadata.get(_ABOUT, b"")
    if metadata.get(_CHECKSUM) != str(crc32c(about)).encode():
        raise CorpusError("is damaged (its checksum differs)", file=path, fix=fix)
    described = json.loads(about)
    if (
        table.column_names != described["columns"]
        or not set(COLUMNS) <= set(types)
        or any(types[name] != column_type(name) for name in types)
        or any(name not in COLUMNS and not name.startswith(LABEL) for name in types)
    ):
        raise CorpusError("is damaged (its columns are not those of an index)", file=path, fix=fix)
    return table.replace_schema_metadata(None), set(described["shards"])
