"""nilearn: the signals of a masker in, embeddings out, and embeddings as regressors of a design matrix."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import ConfigError, ReadError
from ..inference.embeddings import Embeddings
from ..io.atlas import label_centroids
from ..io.checks import checked
from ..io.labels import distinct
from ..io.regions import region_channels
from ..recording import Recording


def from_masker(
    signals: np.ndarray,
    masker: Any,
    *,
    t_r: float | None = None,
    atlas: str | None = None,
    space: Literal["mni", "scanner"] = "mni",
) -> Recording:
    """What `NiftiLabelsMasker.transform` returned, as a Recording that knows its regions.

    Parameters
    ----------
    signals : ndarray, shape (n_volumes, n_regions)
        As nilearn has them: time first.
    masker : nilearn.maskers.NiftiLabelsMasker
        Fitted; its label image gives ids, names and centroids, in the order of the columns.
    t_r : float, optional
        Seconds between volumes; by default the masker's.
    atlas : str, optional
        Name of the atlas. The order of a region is its rank among the label ids of the image.
    space : {"mni", "scanner"}
        Of the label image.

    Raises
    ------
    ConfigError
        The masker is not fitted, or no TR is known.
    ReadError
        Another number of columns than regions.
    """
    names, ids = getattr(masker, "region_names_", None), getattr(masker, "region_ids_", None)
    if not names or not ids:
        raise ConfigError("knows no regions", field="masker", fix="give a NiftiLabelsMasker after fit_transform")
    t_r = t_r if t_r is not None else getattr(masker, "t_r", None)
    if not t_r:
        raise ConfigError("is unknown", field="t_r", fix="give the seconds between volumes")
    columns = sorted(key for key in ids if key != "background")
    labels = np.array([int(float(ids[key])) for key in columns], dtype=np.int64)
    signals = np.asarray(signals)
    if signals.ndim != 2 or signals.shape[1] != len(columns):
        text = f"shape {signals.shape} for {len(columns)} regions"
        raise ReadError(text, field="signals", fix="give (n_volumes, n_regions)")
    image = masker.labels_img_
    values = np.rint(np.asanyarray(image.dataobj)).astype(np.int64)
    known = np.union1d(np.unique(values[values != 0]), labels)
    called = distinct([str(names[key]) for key in columns], labels)
    places = label_centroids(values, image.affine, labels)
    channels = region_channels(called, labels, places, space, atlas, order=np.searchsorted(known, labels))
    data = np.ascontiguousarray(signals.T, dtype=np.float32)
    provenance: dict[str, Any] = {"file": None, "format": "nilearn", "truncated": False, "notes": []}
    return checked(Recording(data, 1.0 / float(t_r), "fmri", channels, provenance=provenance))


def to_regressors(
    embeddings: Embeddings,
    frame_times: np.ndarray,
    *,
    n_components: int = 5,
    hrf_model: str | None = "spm",
) -> pd.DataFrame:
    """Embeddings of a recording as regressors of the volumes that were measured at the same time.

    Each window is a block with the height of its embedding along a principal component (unit variance over windows),
    convolved by nilearn with a haemodynamic response.

    Parameters
    ----------
    embeddings : Embeddings
        Windows of one recording, such as the EEG inside the scanner; onsets in the time of the volumes.
    frame_times : ndarray, shape (n_volumes,)
        Seconds.
    n_components : int
        Columns; at most one less than there are windows.
    hrf_model : str or None
        Of `nilearn.glm.first_level.compute_regressor`; None leaves the blocks as they are (windows of fMRI itself).

    Returns
    -------
    DataFrame, shape (n_volumes, n_components)
        Indexed by frame time; join it to a design matrix, or pass it as `add_regs`.

    Raises
    ------
    ConfigError
        Too few windows for the components.
    """
    from nilearn.glm.first_level import compute_regressor

    if not 1 <= n_components < len(embeddings):
        text = f"{n_components} of {len(embeddings)} windows"
        raise ConfigError(text, field="n_components", fix="give fewer than windows")
    centred = embeddings.values.astype(np.float64) - embeddings.values.mean(axis=0, dtype=np.float64)
    left, _, _ = np.linalg.svd(centred, full_matrices=False)
    heights = left[:, :n_components] * np.sqrt(len(embeddings))
    # the sign of a component is arbitrary: the window that weighs most counts up
    heights *= np.sign(heights[np.abs(heights).argmax(axis=0), np.arange(n_components)])
    blocks = embeddings.table[["onset", "duration"]].to_numpy(dtype=float)
    times = np.asarray(frame_times, dtype=float)
    columns = {
        f"brainof_{number}": compute_regressor(np.column_stack([blocks, height]).T, hrf_model, times)[0][:, 0]
        for number, height in enumerate(heights.T, 1)
    }
    return pd.DataFrame(columns, index=pd.Index(frame_times, name="frame_time"))
