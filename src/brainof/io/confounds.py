"""Nuisance regressors of fMRI: found beside the recording, chosen by name, removed by least squares."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import LabelError, ReadError, did_you_mean
from .options import ConfoundOptions

#: entities of an image that its confounds do not have
_NOT_OF_CONFOUNDS = ("space-", "desc-", "res-", "cohort-", "hemi-", "den-")


@dataclass(frozen=True)
class Confounds:
    """Regressors of one recording.

    Attributes
    ----------
    table : DataFrame
        The chosen columns, one row per volume.
    kept : ndarray of bool, shape (n_volumes,)
        The sample mask: False for censored volumes.
    file : Path
    """

    table: pd.DataFrame
    kept: np.ndarray
    file: Path


_MOTION = tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz")
_TISSUES = ("csf", "white_matter", "global_signal")
_FORMS = ("", "_derivative1", "_power2", "_derivative1_power2")

#: strategy -> column names of fMRIPrep
STRATEGIES: dict[str, tuple[str, ...]] = {
    "6p": _MOTION,
    "24p": tuple(name + form for name in _MOTION for form in _FORMS),
    "36p": tuple(name + form for name in (*_MOTION, *_TISSUES) for form in _FORMS),
}


def read_confounds(options: ConfoundOptions, recording: Path, root: Path, n_times: int) -> Confounds:
    """The chosen columns, one row per volume; gaps (the first row of derivatives) are filled with the column mean.

    Raises
    ------
    ReadError
        The file is missing or no table of numbers, or every volume is censored.
    LabelError
        A column is missing, or the rows do not match the volumes.
    """
    path = _confounds_file(options, recording, root)
    table = _read(path)
    wanted = [*STRATEGIES.get(options.strategy or "", ()), *options.columns]
    if not wanted and options.strategy is None:
        wanted = ["*"]
    missing = [name for name in wanted if not any(fnmatchcase(column, name) for column in table.columns)]
    missing += [name for name in _criteria(options) if name not in table.columns]
    if missing:
        what = f"no column {missing[0]!r}" if len(missing) == 1 else f"no columns {', '.join(map(repr, missing))}"
        raise LabelError(what, file=path, field="confounds", fix=did_you_mean(missing[0], list(table.columns)))
    if len(table) != n_times:
        raise LabelError(f"{len(table)} rows for {n_times} volumes", file=path, field="confounds")
    chosen = list(dict.fromkeys(name for pattern in wanted for name in table.columns if fnmatchcase(name, pattern)))
    text = [name for name in (*chosen, *_criteria(options)) if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise LabelError("is not numeric", file=path, field=f"confounds.{text[0]}")
    kept = _sample_mask(table, options)
    if not kept.any():
        raise ReadError("every volume is censored", file=path, field="confounds", fix="raise fd or dvars")
    values = table[chosen].astype(float)
    return Confounds(values.fillna(values.mean()).fillna(0.0), kept, path)


def _read(path: Path) -> pd.DataFrame:
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
    return table


def _criteria(options: ConfoundOptions) -> dict[str, float]:
    limits = {"framewise_displacement": options.fd, "std_dvars": options.dvars}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _sample_mask(table: pd.DataFrame, options: ConfoundOptions) -> np.ndarray:
    """True for the volumes that are used; the first volume has no displacement and counts as still."""
    kept = np.ones(len(table), bool)
    for name in table.columns:
        if name.startswith("non_steady_state_outlier") and pd.api.types.is_numeric_dtype(table[name]):
            kept &= table[name].fillna(0).to_numpy() == 0
    for name, limit in _criteria(options).items():
        kept &= ~(table[name].to_numpy(dtype=float) > limit)
    if options.min_segment > 1 and not kept.all():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(int), [0]])))
        for start, stop in edges.reshape(-1, 2):
            kept[start:stop] = stop - start >= options.min_segment
    return kept


def _confounds_file(options: ConfoundOptions, recording: Path, root: Path) -> Path:
    if options.file is not None:
        for folder in (recording.parent, root):
            if (folder / options.file).is_file():
                return folder / options.file
        raise ReadError("file not found", file=recording.parent / options.file, field="confounds")
    stem = "_".join(
        part for part in recording.name.split(".")[0].split("_")[:-1] if not part.startswith(_NOT_OF_CONFOUNDS)
    )
    names = [f"{stem}_desc-confounds_{word}.tsv" for word in ("timeseries", "regressors")]
    for name in names:
        if (recording.parent / name).is_file():
            return recording.parent / name
    raise ReadError(
        "no confounds file beside the recording", file=recording.parent / names[0], fix="give confounds.file"
    )


def remove_confounds(signals: np.ndarray, confounds: pd.DataFrame, kept: np.ndarray | None = None) -> np.ndarray:
    """Residuals of a least-squares fit of the regressors, with the mean kept.

    Parameters
    ----------
    signals : ndarray, shape (n_times, n_regions)
    confounds : DataFrame, shape (n_times, n_regressors)
    kept : ndarray of bool, shape (n_times,), optional
        Volumes that take part; the others are interpolated linearly between them (and hold the nearest one's value
        at the ends).

    Returns
    -------
    cleaned : ndarray, shape (n_times, n_regions)
    """
    from nilearn.signal import clean

    kept = np.ones(len(signals), bool) if kept is None else kept
    used = signals[kept]
    mean = used.mean(axis=0, keepdims=True)
    if confounds.shape[1]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what "no standardisation" is called changes between versions
            regressors = confounds.to_numpy()[kept]
            used = clean(used - mean, confounds=regressors, detrend=False, standardize=False) + mean
    if kept.all():
        return used
    at, every = np.flatnonzero(kept), np.arange(len(signals))
    return np.stack([np.interp(every, at, column) for column in used.T], axis=1)


def cleaned(
    signals: np.ndarray, confounds: Confounds, options: ConfoundOptions
) -> tuple[np.ndarray, list[int] | None, list[str]]:
    """Signals (regions x time) without the confounds, the volumes that were kept (None: all), and notes."""
    out = remove_confounds(signals.T, confounds.table, confounds.kept).T
    notes = [f"{confounds.table.shape[1]} confounds were removed"]
    lost = int((~confounds.kept).sum())
    if not lost:
        return out, None, notes
    what = "dropped: time has gaps" if options.censored == "drop" else "interpolated"
    notes.append(f"{lost} of {len(confounds.kept)} volumes were censored and {what}")
    if options.censored == "drop":
        out = out[:, confounds.kept]
    return out, np.flatnonzero(confounds.kept).tolist(), notes
