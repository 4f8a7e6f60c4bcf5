"""Embeddings: one vector per window with the window's time and origin, and their files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import ConfigError, ReadError, did_you_mean
from ..paths import user_path
from ..utils.files import write_atomically
from ..utils.values import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".parquet", ".npz", ".csv")
#: Columns of a CSV that stay as they are written: subject 01 is not 1
_AS_TEXT = dict.fromkeys(("dataset", "subject", "session", "task", "run", "recording", "sample", "file"), "string")


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

    def __repr__(self) -> str:
        columns = ", ".join(map(str, self.table))
        return f"<Embeddings, {counted(len(self), 'window')} x {self.values.shape[1]} features, table: {columns}>"

    def plot(self, by: str | None = None) -> Figure:
        """The windows in the plane of their first two principal components, coloured `by` a column of the table.

        Axes say the fraction of variance of each component.

        Raises
        ------
        ConfigError
            No such column, or fewer than two windows or features.
        """
        import matplotlib.pyplot as plt
        from sklearn.decomposition import PCA

        if by is not None and by not in self.table:
            raise ConfigError(f"no column {by!r}", field="by", fix=did_you_mean(by, map(str, self.table)))
        if min(self.values.shape) < 2:
            problem = f"embeddings of shape {self.values.shape}"
            raise ConfigError(problem, field="values", fix="give two windows or more")
        components = PCA(2)
        points = components.fit_transform(self.values)
        figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
        plt.close(figure)  # it belongs to the caller, not to pyplot
        colour = pd.Series("window", self.table.index) if by is None else self.table[by]
        if pd.api.types.is_numeric_dtype(colour):
            label = f"{by} (s)" if by in ("onset", "duration") else by
            figure.colorbar(axes.scatter(points[:, 0], points[:, 1], c=colour, s=12, cmap="viridis"), label=label)
        else:
            names, numbers = np.unique(colour.astype("string").fillna("none").to_numpy(dtype=str), return_inverse=True)
            for number, name in enumerate(names):
                shown = points[numbers == number]
                axes.scatter(shown[:, 0], shown[:, 1], s=12, color=plt.colormaps["tab20"](number % 20), label=name)
            if 1 < len(names) <= 20:
                axes.legend(title=by, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        x, y = (
            f"component {i + 1} ({part:.0%} of variance)" for i, part in enumerate(components.explained_variance_ratio_)
        )
        axes.set(xlabel=x, ylabel=y)
        return figure

    def to_frame(self) -> pd.DataFrame:
        """The table with one further column per feature: e0000, e0001, ..."""
        width = max(4, len(str(self.values.shape[1] - 1)))
        names = [f"e{number:0{width}d}" for number in range(self.values.shape[1])]
        return pd.concat([self.table.reset_index(drop=True), pd.DataFrame(self.values, columns=names)], axis=1)

    def save(self, path: str | PathLike[str]) -> None:
        """Write `.parquet` or `.csv` (the columns of `to_frame`), or `.npz` (`values` and one array per table column).

        The file appears complete or not at all.

        Raises
        ------
        ConfigError
            The ending is none of these.
        StorageError
            The disk is full or the folder cannot be written.
        """
        ending = check_format(path)
        buffer = io.BytesIO()
        if ending == ".parquet":
            pq.write_table(pa.Table.from_pandas(self.to_frame(), preserve_index=False), buffer)
        elif ending == ".csv":
            self.to_frame().to_csv(buffer, index=False)
        else:
            columns = {str(name): _plain(self.table[name]) for name in self.table}
            # numpy.savez takes names as keyword arguments, so that no array can be called "file"
            with zipfile.ZipFile(buffer, "w") as archive:
                for name, array in {**columns, "values": self.values}.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
        write_atomically(user_path(path), [buffer.getbuffer()])

    @classmethod
    def concatenate(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """All rows of several, in order."""
        tables = [part.table for part in parts]
        return cls(np.concatenate([part.values for part in parts]), pd.concat(tables, ignore_index=True))


def check_format(path: str | PathLike[str]) -> str:
    """The ending of a file of embeddings; ConfigError when it is unknown."""
    ending = user_path(path).suffix.lower()
    if ending not in FORMATS:
        problem = f"cannot write {ending or 'a file without ending'}"
        raise ConfigError(problem, file=path, fix=f"use {', '.join(FORMATS)}")
    return ending


def load_embeddings(path: str | PathLike[str]) -> Embeddings:
    """Read what `Embeddings.save` wrote; a ReadError where there is none."""
    ending = check_format(path)
    try:
        if ending != ".npz":
            frame = pd.read_parquet(path) if ending == ".parquet" else pd.read_csv(path, dtype=_AS_TEXT)
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


def _plain(column: pd.Series) -> np.ndarray:
    """Numbers as they are, everything else as text: object arrays would need pickle."""
    if pd.api.types.is_numeric_dtype(column) and not column.isna().any():
        return column.to_numpy()
    return column.astype("string").fillna("").to_numpy(dtype=str)
