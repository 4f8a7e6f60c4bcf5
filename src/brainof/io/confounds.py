"""Nuisance regressors of fMRI: found beside the recording, chosen by name, removed by least squares."""

from __future__ import annotations

import warnings
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import LabelError, ReadError, did_you_mean
from .options import ConfoundOptions


def read_confounds(options: ConfoundOptions, recording: Path, root: Path, n_times: int) -> pd.DataFrame:
    """The chosen columns, one row per volume; gaps (the first row of derivatives) are filled with the column mean.

    Raises
    ------
    ReadError
        The file is missing or no table of numbers.
    LabelError
        A column is missing, or the rows do not match the volumes.
    """
    path = _confounds_file(options, recording, root)
    try:
        if path.suffix.lower() == ".tsv":
            table = pd.read_csv(path, sep="\t", na_values=["n/a"])
        elif path.suffix.lower() == ".csv":
            table = pd.read_csv(path, na_values=["n/a"])
        else:
            table = pd.read_csv(path, sep=r"\s+", header=None, na_values=["n/a"])
    except (ValueError, UnicodeDecodeError) as error:
        raise ReadError(f"cannot be read ({error})", file=path, field="confounds") from None
    table.columns = [str(name) for name in table.columns]
    chosen = []
    for pattern in options.columns:
        found = [name for name in table.columns if fnmatchcase(name, pattern)]
        if not found:
            raise LabelError(
                f"no column {pattern!r}", file=path, field="confounds", fix=did_you_mean(pattern, list(table.columns))
            )
        chosen += [name for name in found if name not in chosen]
    if len(table) != n_times:
        raise LabelError(f"{len(table)} rows for {n_times} volumes", file=path, field="confounds")
    table = table[chosen]
    text = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise LabelError("is not numeric", file=path, field=f"confounds.{text[0]}")
    return table.astype(float).fillna(table.mean()).fillna(0.0)


def _confounds_file(options: ConfoundOptions, recording: Path, root: Path) -> Path:
    if options.file is not None:
        for folder in (recording.parent, root):
            if (folder / options.file).is_file():
                return folder / options.file
        raise ReadError("file not found", file=recording.parent / options.file, field="confounds")
    parts = recording.name.split(".")[0].split("_")[:-1]
    stem = "_".join(part for part in parts if not part.startswith(("space-", "desc-", "res-", "cohort-")))
    names = [f"{stem}_desc-confounds_{word}.tsv" for word in ("timeseries", "regressors")]
    for name in names:
        if (recording.parent / name).is_file():
            return recording.parent / name
    raise ReadError(
        "no confounds file beside the recording", file=recording.parent / names[0], fix="give confounds.file"
    )


def remove_confounds(signals: np.ndarray, confounds: pd.DataFrame) -> np.ndarray:
    """Residuals of a least-squares fit of the regressors, with the mean kept.

    Parameters
    ----------
    signals : ndarray, shape (n_times, n_regions)
    """
    from nilearn.signal import clean

    mean = signals.mean(axis=0, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what "no standardisation" is called changes between versions
        cleaned = clean(signals - mean, confounds=confounds.to_numpy(), detrend=False, standardize=False)
    return cleaned + mean
