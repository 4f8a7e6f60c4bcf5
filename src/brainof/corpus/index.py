"""The window index: one row per window, the rules that rows obey, and the Parquet files that hold them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute, parquet

from ..channels import MODALITIES
from ..errors import CorpusError, check_known
from ..utils.checksum import crc32c
from ..utils.files import parse_json, write_atomically

FORMAT = "brainof-corpus"
#: Version 2 adds checksums to descriptions, deletions and notes; version 1 is read and appended to as it is
VERSION, VERSIONS = 2, (1, 2)

_TEXT = pa.dictionary(pa.int32(), pa.string())

#: Columns of the index and their storage types. Text is dictionary-coded (categories in pandas), so that millions of
#: rows stay small; null is "unknown" and occurs in session, task, run and labels only.
COLUMNS: dict[str, pa.DataType] = {
    "shard": _TEXT,  # file name without extension
    "key": _TEXT,  # tensor name inside the shard
    "n_channels": pa.int32(),
    "n_times": pa.int32(),
    "dtype": _TEXT,
    "crc32c": pa.uint32(),  # of the raw bytes of the window
    "dataset": _TEXT,
    "modality": _TEXT,
    "subject": _TEXT,  # unique within a dataset; dataset/subject is unique
    "session": _TEXT,
    "task": _TEXT,
    "run": _TEXT,
    "recording": _TEXT,  # unique within dataset and modality
    "config": _TEXT,  # hash of recipe and file
    "view": _TEXT,
    "onset": pa.float64(),  # seconds
    "sfreq": pa.float64(),  # Hz
    "channel_set": _TEXT,  # digest of the channel table
    "good": _TEXT,  # channel mask as a string of 0 and 1
}
LABEL = "label."
IDENTITY = ("dataset", "modality", "recording")

_REQUIRED = ("dataset", "modality", "subject", "recording", "config", "sfreq")
_OPTIONAL = ("session", "task", "run")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_ABOUT, _CHECKSUM = b"brainof", b"brainof.crc32c"

#: Text that occurs in millions of rows must stay one dictionary: by default the library gives up at 1 MB and spells out
#: every row, and makes a dictionary for each million of rows
_DICTIONARY_BYTES, _ROWS = 1 << 28, 1 << 23

#: Rows of a column that are decoded at a time: a few MB
_ROWS_AT_ONCE = 1 << 19


def dataset_name(name: Any) -> str:
    """The name as text, checked (CorpusError): it becomes part of file names."""
    if not _FILE_NAME.fullmatch(str(name)):
        raise CorpusError(f"{name!r}", field="dataset", fix="use letters, digits, '.', '-' and '_' only")
    return str(name)


def recording_row(recording: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that all windows of a recording share, checked (CorpusError); see `CorpusWriter.add`."""
    name = recording.get("recording")
    for key in recording:
        check_known(key, _REQUIRED + _OPTIONAL, CorpusError, "unknown key", file=name, field=key)
    for key in _REQUIRED:
        if recording.get(key) in (None, ""):
            raise CorpusError("is required", file=name, field=key)
    row = {key: None if recording.get(key) in (None, "") else str(recording[key]) for key in _REQUIRED + _OPTIONAL}
    dataset_name(row["dataset"])
    check_known(row["modality"], MODALITIES, CorpusError, file=name, field="modality")
    try:
        sfreq = float(recording["sfreq"])
    except (TypeError, ValueError):
        sfreq = np.nan
    if not 0 < sfreq < np.inf:
        raise CorpusError(f"{recording['sfreq']!r}", file=name, field="sfreq", fix="give a rate above 0 Hz")
    return {**row, "sfreq": sfreq}


def to_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as lists per column; labels that a row lacks are None."""
    labels = sorted({key for row in rows for key in row if key.startswith(LABEL)})
    return {column: [row.get(column) for row in rows] for column in (*COLUMNS, *labels)}


def to_table(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Lists per column as an Arrow table of the storage types."""
    arrays = {}
    for name in (*COLUMNS, *(name for name in columns if name.startswith(LABEL))):
        kind = COLUMNS.get(name, _TEXT)
        values = pa.array(columns[name], pa.string() if kind == _TEXT else kind)
        arrays[name] = values.dictionary_encode() if kind == _TEXT else values  # 7 times the speed of one step
    return pa.table(arrays)


def to_frame(tables: Sequence[pa.Table], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Join some columns of index tables, or all, into one frame whose text columns are categories."""
    if columns is None:
        labels = dict.fromkeys(name for table in tables for name in table.column_names if name.startswith(LABEL))
        columns = (*COLUMNS, *labels)
    n_rows = sum(len(table) for table in tables)
    return pd.DataFrame({name: column_values(name, _chunks(name, tables), n_rows) for name in columns}, copy=False)


def _chunks(name: str, tables: Sequence[pa.Table]) -> Iterator[pa.Array]:
    for table in tables:
        yield from (
            table[name].chunks if name in table.column_names else [pa.nulls(len(table), COLUMNS.get(name, _TEXT))]
        )


def column_values(name: str, chunks: Iterable[pa.Array], n_rows: int) -> pd.Categorical | np.ndarray:
    """A column of `n_rows` values from its parts, which are let go one by one; a CorpusError where a number is missing.

    Text becomes categories in order of first mention, with the smallest codes that hold them. Not by Arrow's
    `unify_dictionaries`, which takes twice the time and 80 MB more for 5.87 million rows.
    """
    kind = COLUMNS.get(name, _TEXT)
    is_text = kind == _TEXT
    values = np.empty(n_rows, np.int8 if is_text else kind.to_pandas_dtype())
    names, begin = pa.array([], pa.string()), 0
    for chunk in chunks:
        end = begin + len(chunk)
        if is_text:
            found = chunk.indices.fill_null(-1).to_numpy()
            if not chunk.dictionary.equals(names):  # the new names follow, and each of the chunk has a place
                new = chunk.dictionary.filter(compute.invert(compute.is_in(chunk.dictionary, value_set=names)))
                names = pa.concat_arrays([names, new.unique()])
                places = compute.index_in(chunk.dictionary, value_set=names).to_numpy()
                found = np.append(places, -1)[found]  # -1, unknown, stays the last
                smallest = np.min_scalar_type(-max(len(names), 1))
                values = values.astype(np.promote_types(values.dtype, smallest), copy=False)
            values[begin:end] = found
        elif chunk.null_count:
            raise CorpusError("is unknown in some rows", field=name)
        else:
            values[begin:end] = chunk.to_numpy(zero_copy_only=False)
        begin = end
    if not is_text:
        return values
    dtype: Any = pd.CategoricalDtype(pd.Index(names.to_pandas(), dtype="str"))
    return pd.Categorical.from_codes(values, dtype=dtype)


def from_frame(index: pd.DataFrame) -> pa.Table:
    """Inverse of `to_frame`."""
    arrays = {}
    for name, column in index.items():
        kind = COLUMNS.get(str(name), _TEXT)
        arrays[str(name)] = pa.array(column if kind == _TEXT else column.to_numpy(), kind)  # NaN is no null
    return pa.table(arrays)


def in_order(index: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The index in its canonical order, without superseded windows.

    Rows are ordered by dataset, modality and recording, then as written, so that two corpora prepared from the same
    recordings number their windows alike, whatever the number of writers. A recording sits in one shard; where it
    occurs in several (two writers at once, or a changed recipe) the newest shard counts, and it is named
    (dataset/recording) beside the index.
    """
    if index.empty:
        return index.reset_index(drop=True), []
    rank = np.zeros(len(index), np.int64)
    for column in IDENTITY:
        rank = rank * len(index[column].cat.categories) + _ranks(index[column])
    shard = _ranks(index["shard"])  # names of one dataset sort by their time of writing
    if (np.diff(rank) < 0).any():
        order = np.lexsort((shard, rank))
        index, rank, shard = index.iloc[order], rank[order], shard[order]
    last = np.flatnonzero(np.diff(rank, append=-1))  # of each recording; shards ascend within it
    newest = np.repeat(shard[last], np.diff(last, prepend=-1))
    superseded: list[str] = []
    if (shard != newest).any():
        old = index[shard != newest]
        superseded = sorted(set(old["dataset"].astype(str) + "/" + old["recording"].astype(str)))
        index = index[shard == newest]
    return index.reset_index(drop=True), superseded


def subjects(index: pd.DataFrame) -> pd.Series:
    """The subject of each row, as categories `dataset/subject`: names are unique within a dataset only."""
    dataset, subject = (index[column].astype("category").cat for column in ("dataset", "subject"))
    width = max(1, len(subject.categories))
    pairs, codes = np.unique(dataset.codes.to_numpy(np.int64) * width + subject.codes.to_numpy(), return_inverse=True)
    names = [f"{dataset.categories[pair // width]}/{subject.categories[pair % width]}" for pair in pairs]
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names)), index=index.index, name="subject")


def _ranks(column: pd.Series) -> np.ndarray:
    """Rank of each value in the alphabetical order of the column's categories."""
    ranks = np.argsort(np.argsort(column.cat.categories.to_numpy(dtype=str)))
    return ranks[column.cat.codes.to_numpy()]


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
            file = pa.OSFile(os.fsencode(path))
            self._file = parquet.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            types = {field.name: field.type for field in self._file.schema_arrow}
            metadata = self._file.schema_arrow.metadata or {}
            about = metadata.get(_ABOUT, b"")
            if metadata.get(_CHECKSUM) != str(crc32c(about)).encode():
                raise ValueError("its checksum differs")
            described = parse_json(about)
            right = COLUMNS | {name: _TEXT for name in types if name.startswith(LABEL)}
            if list(types) != described["columns"] or types != right:
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
