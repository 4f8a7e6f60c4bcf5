"""Embeddings: one vector per window with the window's time and origin, and their files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import ConfigError, ReadError
from ..utils.files import write_atomically

FORMATS = (".parquet", ".npz")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of n windows.

    Attributes
    ----------
    values : ndarray, shape (n, n_features), float32
    table : DataFrame
        One row per window: onset and duration in seconds from the start of the recording, then what is known of
        recording, modality, dataset, subject, session, task, run, file and labels.
    """

    values: np.ndarray
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.values)

    def to_frame(self) -> pd.DataFrame:
        """The table with one further column per feature: e0000, e0001, ..."""
        width = max(4, len(str(self.values.shape[1] - 1)))
        names = [f"e{number:0{width}d}" for number in range(self.values.shape[1])]
        return pd.concat([self.table.reset_index(drop=True), pd.DataFrame(self.values, columns=names)], axis=1)

    def windows_at(self, times: np.ndarray) -> np.ndarray:
        """Number of the window that holds each time (seconds, as onsets count); -1 where none does."""
        onset, duration = self.table["onset"].to_numpy(dtype=float), self.table["duration"].to_numpy(dtype=float)
        order = np.argsort(onset, kind="stable")
        place = np.searchsorted(onset[order], times, side="right") - 1
        chosen = order[np.maximum(place, 0)]
        return np.where((place >= 0) & (times < onset[chosen] + duration[chosen]), chosen, -1)

    def save(self, path: str | PathLike[str]) -> None:
        """Write `.parquet` (the columns of `to_frame`) or `.npz` (`values` and one array per table column).

        The file appears complete or not at all.

        Raises
        ------
        ConfigError
            The ending is neither .parquet nor .npz.
        StorageError
            The disk is full or the folder cannot be written.
        """
        ending = check_format(path)
        buffer = io.BytesIO()
        if ending == ".parquet":
            pq.write_table(pa.Table.from_pandas(self.to_frame(), preserve_index=False), buffer)
        else:
            columns = {str(name): _plain(self.table[name]) for name in self.table}
            _write_npz(buffer, {**columns, "values": self.values})
        write_atomically(Path(path), [buffer.getbuffer()])

    @classmethod
    def concatenate(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """All rows of several, in order."""
        return cls(
            np.concatenate([part.values for part in parts]),
            pd.concat([part.table for part in parts], ignore_index=True),
        )


def check_format(path: str | PathLike[str]) -> str:
    """The ending of a file of embeddings; ConfigError when it is unknown."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"cannot write {ending or 'a file without ending'}", file=path, fix=f"use {FORMATS}")
    return ending


def load_embeddings(path: str | PathLike[str]) -> Embeddings:
    """Read what `Embeddings.save` wrote.

    Raises
    ------
    ReadError
        The file is missing or holds something else.
    """
    ending = check_format(path)
    try:
        if ending == ".parquet":
            frame = pd.read_parquet(path)
            names = [name for name in frame if str(name)[:1] == "e" and str(name)[1:].isdigit()]
            values = frame[names].to_numpy(np.float32)
            return Embeddings(values, frame.drop(columns=names))
        with np.load(path, allow_pickle=False) as arrays:
            table = pd.DataFrame({name: arrays[name] for name in arrays.files if name != "values"})
            return Embeddings(arrays["values"], table)
    except FileNotFoundError:
        raise ReadError("file not found", file=path) from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise ReadError(f"holds no embeddings ({error})", file=path) from None


def _write_npz(buffer: io.BytesIO, arrays: dict[str, np.ndarray]) -> None:
    # numpy.savez takes names as keyword arguments, so that no array can be called "file"
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _plain(column: pd.Series) -> np.ndarray:
    """Numbers as they are, everything else as text: object arrays would need pickle."""
    if pd.api.types.is_numeric_dtype(column) and not column.isna().any():
        return column.to_numpy()
    return column.astype("string").fillna("").to_numpy(dtype=str)
