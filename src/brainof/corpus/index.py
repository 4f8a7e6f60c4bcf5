"""The window index: one row per window, and the rules that rows obey."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from ..channels import MODALITIES
from ..errors import CorpusError, check_known

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

_REQUIRED = ("dataset", "modality", "subject", "recording", "config", "sfreq")
_OPTIONAL = ("session", "task", "run")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    if not (np.isfinite(sfreq) and sfreq > 0):
        raise CorpusError(f"{recording['sfreq']!r}", file=name, field="sfreq", fix="give a rate above 0 Hz")
    return {**row, "sfreq": sfreq}


def column_type(column: str) -> pa.DataType:
    """Storage type of a column of the index."""
    return COLUMNS.get(column, _TEXT)


def to_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as lists per column; labels that a row lacks are None."""
    labels = sorted({key for row in rows for key in row if key.startswith(LABEL)})
    return {column: [row.get(column) for row in rows] for column in (*COLUMNS, *labels)}


def to_table(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Lists per column as an Arrow table of the storage types."""
    arrays = {}
    for name in (*COLUMNS, *(name for name in columns if name.startswith(LABEL))):
        kind = column_type(name)
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
        yield from table[name].chunks if name in table.column_names else [pa.nulls(len(table), column_type(name))]


def column_values(name: str, chunks: Iterable[pa.Array], n_rows: int) -> pd.Categorical | np.ndarray:
    """A column of `n_rows` values from its parts, which are let go one by one; a CorpusError where a number is missing.

    Text becomes categories in order of first mention, with the smallest codes that hold them. Not by Arrow's
    `unify_dictionaries`, which takes twice the time and 80 MB more for 5.87 million rows.
    """
    kind = column_type(name)
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
        if column.dtype == "category":
            codes = column.cat.codes.to_numpy(np.int32)
            values = pa.array(column.cat.categories.to_numpy(dtype=object), pa.string())
            arrays[str(name)] = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), values)
        else:
            arrays[str(name)] = pa.array(column.to_numpy(), COLUMNS[str(name)])
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
    for column in ("dataset", "modality", "recording"):
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
