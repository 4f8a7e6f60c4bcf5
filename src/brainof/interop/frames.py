"""Embeddings as labelled arrays, and beside the epochs they came from (`Embeddings.to_frame` gives pandas)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import ConfigError, did_you_mean
from ..inference.embeddings import Embeddings
from ..utils.optional import optional


def to_xarray(embeddings: Embeddings) -> Any:
    """Embeddings as an `xarray.DataArray` of dimensions (window, feature).

    Every column of the table is a coordinate of `window`: `onset` and `duration` in seconds (with `units`), then what
    is known of subject, session, file and labels.

    Raises
    ------
    DependencyError
        xarray is not installed.
    """
    xarray = optional("xarray", "xarray", "to_xarray")
    frame = embeddings.to_frame()
    features = [name for name in frame if name not in embeddings.table]
    coordinates: dict[str, Any] = {"feature": features}
    for name in embeddings.table:
        column = embeddings.table[name]
        values = column.to_numpy()
        if not pd.api.types.is_numeric_dtype(column):
            values = column.astype("string").fillna("").to_numpy(dtype=str)  # objects cannot be saved to netCDF
        attributes = {"units": "s"} if name in ("onset", "duration") else {}
        coordinates[str(name)] = ("window", values, attributes)
    return xarray.DataArray(embeddings.values, coordinates, ("window", "feature"), name="embedding")


def to_metadata(
    embeddings: Embeddings,
    epochs: Any,
    *,
    match: Literal["row", "onset"] = "row",
    first_samp: int | None = None,
    prefix: str = "",
) -> Any:
    """A copy of `mne.Epochs` whose `metadata` holds the embeddings: one column per feature, after those it has.

    Parameters
    ----------
    embeddings : Embeddings
        One window per epoch in order (`match="row"`), or windows of the recording that the epochs were cut from
        (`match="onset"`): each epoch then takes the window that its event lies in.
    epochs : mne.BaseEpochs
    match : {"row", "onset"}
    first_samp : int, optional
        `raw.first_samp` of the recording (by onset only): events count from it, and epochs forget it once loaded.
    prefix : str
        Before the names e0000, e0001, ..., such as `"brainof_"`.

    Returns
    -------
    mne.BaseEpochs
        `epochs["e0000 > 0"]` then selects as with any metadata. With `match="onset"`, an epoch whose event lies in no
        window (a bad stretch) has NaN.

    Raises
    ------
    ConfigError
        Another number of windows than epochs (by row), windows of several recordings (by onset), or names that the
        metadata already have.
    """
    if match not in ("row", "onset"):
        raise ConfigError(f"{match!r}", field="match", fix=did_you_mean(str(match), ("row", "onset")))
    epochs = epochs.copy().drop_bad()
    if match == "row":
        if len(embeddings) != len(epochs):
            raise ConfigError(
                f"{len(embeddings)} windows for {len(epochs)} epochs",
                field="embeddings",
                fix='embed each epoch, or use match="onset" for windows of the continuous recording',
            )
        values = embeddings.values
    else:
        values = _by_onset(embeddings, epochs, first_samp)
    names = [name for name in embeddings.to_frame() if name not in embeddings.table]
    columns = pd.DataFrame(values, columns=[f"{prefix}{name}" for name in names])
    before = epochs.metadata
    if before is not None:
        twice = sorted(set(before) & set(columns))
        if twice:
            raise ConfigError(f"{twice[0]!r} is in the metadata already", field="metadata", fix="give a prefix")
        columns = pd.concat([before.reset_index(drop=True), columns], axis=1)
    epochs.metadata = columns
    return epochs


def _by_onset(embeddings: Embeddings, epochs: Any, first: int | None) -> np.ndarray:
    """Values of the window that holds the event of each epoch, times from the first sample of the recording."""
    table = embeddings.table
    if "file" in table and table["file"].nunique() > 1:
        raise ConfigError("windows of several recordings", field="embeddings", fix="pass those of one recording")
    if first is None:
        raw = getattr(epochs, "_raw", None)
        if raw is None:
            raise ConfigError("is unknown: loaded epochs forget it", field="first_samp", fix="give raw.first_samp")
        first = int(raw.first_samp)
    times = (epochs.events[:, 0] - first) / epochs.info["sfreq"]
    window = embeddings.windows_at(times)
    return np.where((window >= 0)[:, None], embeddings.values[window], np.float32(np.nan))
