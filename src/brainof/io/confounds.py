"""Nuisance regressors of fMRI: chosen by nilearn's strategies or by column name, removed by nilearn.signal.clean."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import LabelError, ReadError, did_you_mean
from .bids.sidecars import Sidecars
from .checks import damage_named
from .events import UNKNOWN
from .options import ConfoundOptions
from .text_table import read_text_table

_COLUMNS = {
    "motion": tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"),
    "wm_csf": ("csf", "white_matter"),
    "global_signal": ("global_signal",),
}


_FORMS = {
    "basic": ("",),
    "power2": ("", "_power2"),
    "derivatives": ("", "_derivative1"),
    "full": ("", "_derivative1", "_power2", "_derivative1_power2"),
}


def read_confounds(
    options: ConfoundOptions, recording: Path, root: Path, n_times: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """The chosen columns, one row per volume, gaps filled with the column mean; volumes that are kept, bool (n_times,).

    Not kept are scrubbed volumes, and those before the steady state.

    Raises ReadError: the file is missing or no table of numbers, or every volume is scrubbed; LabelError: a column is
    missing or not finite, or the rows do not match the volumes.
    """
    path = confounds_file(options, recording, root)
    has_header = path.suffix.lower() in (".tsv", ".csv")
    text, _ = read_text_table(path, None if has_header else (), ReadError)
    if text.empty:
        raise ReadError("holds no rows", file=path, field="confounds", fix="give a table of numbers")
    # numbers where a column holds only numbers and n/a, else its text
    cells = text.mask(text.apply(lambda column: column.str.lower().isin(UNKNOWN)))
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    is_text = numbers.isna().sum() > cells.isna().sum()
    table = pd.concat([text[name] if is_text[name] else numbers[name] for name in map(str, text)], axis=1)
    if len(table) != n_times:
        raise LabelError(f"{len(table)} rows for {n_times} volumes", file=path, field="confounds")
    wanted = options.columns or (() if options.strategy else ("*",))
    needed = list[str]()  # all of them: nilearn names the first, and other kinds by a KeyError
    for kind, columns in _COLUMNS.items():
        forms = _FORMS[getattr(options, kind)] if kind in options.strategy else ()
        needed += [name + form for name in columns for form in forms]
    needed += [*(("framewise_displacement", "std_dvars") if "scrub" in options.strategy else ()), *wanted]
    if missing := [name for name in needed if not any(fnmatchcase(column, name) for column in table.columns)]:
        what = f"no column {missing[0]!r}" if len(missing) == 1 else f"no columns {', '.join(map(repr, missing))}"
        raise LabelError(what, file=path, field="confounds", fix=did_you_mean(missing[0], list(table.columns)))
    parts, taken = _by_strategy(options, table, path)
    names = [name for pattern in wanted for name in table.columns if fnmatchcase(name, pattern)]
    values = pd.concat([parts, table[[name for name in dict.fromkeys(names) if name not in parts]]], axis=1)
    for name in values:
        if not pd.api.types.is_numeric_dtype(values[name]):
            raise LabelError("is not numeric", file=path, field=f"confounds.{name}")
        if (odd := np.flatnonzero(np.isinf(values[name].astype(float)))).size:
            value = float(values[name].iloc[odd[0]])
            problem = f"{value:g} in row {odd[0] + 1}"
            raise LabelError(problem, file=path, field=f"confounds.{name}", fix="correct it, or choose other columns")
    if not taken.any():
        raise ReadError("every volume is scrubbed", file=path, field="confounds", fix="raise fd_threshold")
    values = values.astype(float)
    return values.fillna(values.mean()).fillna(0.0), taken


def _by_strategy(options: ConfoundOptions, table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """The columns of `options.strategy`, and the volumes that are kept."""
    from nilearn.interfaces.fmriprep import load_confounds

    taken = np.ones(len(table), bool)
    if not options.strategy and not any("non_steady_state" in name for name in table.columns):
        return pd.DataFrame(index=table.index), taken
    limit = np.inf if options.std_dvars_threshold is None else options.std_dvars_threshold
    words = options.model_dump(exclude={"file", "columns", "std_dvars_threshold"})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all volumes are scrubbed is an error here
        # nilearn finds a table by the name of an fMRIPrep image alone: a copy of any table gets that name
        copy = Path(folder) / "sub-1_desc-confounds_timeseries.tsv"
        table.to_csv(copy, sep="\t", index=False, na_rep="n/a")
        if path.with_suffix(".json").is_file():
            shutil.copyfile(path.with_suffix(".json"), copy.with_suffix(".json"))
        image = str(Path(folder) / "sub-1_desc-preproc_bold.nii.gz")
        with damage_named(path, "does not fit the strategy", "confounds", "give columns instead"):
            chosen, mask = load_confounds(image, demean=False, std_dvars_threshold=limit, **words)
    if mask is not None:
        taken[:] = False
        taken[mask] = True
    return pd.DataFrame(index=table.index) if chosen is None else chosen, taken


def confounds_file(options: ConfoundOptions, recording: Path, root: Path) -> Path:
    """The table of confounds of a recording (ReadError), beside which a JSON file may say what its columns are."""
    if options.file is not None:
        for folder in (recording.parent, root):
            if (folder / options.file).is_file():
                return folder / options.file
        raise ReadError("file not found", file=recording.parent / options.file, field="confounds")
    path = Sidecars.find(recording).confounds()
    if not path.is_file():
        raise ReadError("no confounds file beside the recording", file=path, fix="give confounds.file=")
    return path


def cleaned(
    signals: np.ndarray, confounds: pd.DataFrame, taken: np.ndarray
) -> tuple[np.ndarray, list[int] | None, list[str]]:
    """Signals (n_regions, n_times) without confounds, scrubbed volumes interpolated; those kept (None: all); notes."""
    from nilearn.signal import clean

    sample_mask, n_times = np.flatnonzero(taken), len(taken)
    used = signals[:, sample_mask].T
    if confounds.shape[1]:
        mean = used.mean(axis=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what "no standardisation" is called changes between versions
            regressors = confounds.to_numpy()[sample_mask]
            used = clean(used - mean, confounds=regressors, detrend=False, standardize=False) + mean
    notes = [f"{confounds.shape[1]} confounds were removed"]
    if len(sample_mask) == n_times:
        return used.T, None, notes
    notes.append(f"{n_times - len(sample_mask)} of {n_times} volumes were scrubbed and interpolated")
    every = np.arange(n_times)
    return np.stack([np.interp(every, sample_mask, row) for row in used.T]), sample_mask.tolist(), notes
