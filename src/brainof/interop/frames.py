"""Embeddings as labelled arrays, and beside the epochs they came from (`Embeddings.to_frame` gives pandas)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..errors import ConfigError
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


def to_metadata(embeddings: Embeddings, epochs: Any, *, prefix: str = "") -> Any:
    """A copy of `mne.Epochs` whose `metadata` holds the embeddings: one column per feature, after those it has.

    Parameters
    ----------
    embeddings : Embeddings
        One window per epoch, in order.
    epochs : mne.BaseEpochs
    prefix : str
        Before the names e0000, e0001, ..., such as `"brainof_"`.

    Returns
    -------
    mne.BaseEpochs
        `epochs["e0000 > 0"]` then selects as with any metadata.

    Raises
    ------
    ConfigError
        Another number of windows than epochs, or names that the metadata already have.
    """
    epochs = epochs.copy().drop_bad()
    if len(embeddings) != len(epochs):
        text = f"{len(embeddings)} windows for {len(epochs)} epochs"
        raise ConfigError(text, field="embeddings", fix="embed the epochs")
    columns = embeddings.to_frame().drop(columns=list(embeddings.table)).add_prefix(prefix)
    if epochs.metadata is not None:
        if twice := sorted(set(epochs.metadata) & set(columns)):
            raise ConfigError(f"{twice[0]!r} is in the metadata already", field="metadata", fix="give a prefix")
        columns = pd.concat([epochs.metadata.reset_index(drop=True), columns], axis=1)
    epochs.metadata = columns
    return epochs
