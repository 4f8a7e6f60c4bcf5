"""Which rows of an index to use: by view, modality, dataset and subject; a split by subject; pairs of modalities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, CorpusError, check_known, did_you_mean
from .index import subjects

#: Columns that must agree, beside the subject, for two windows to lie on one clock (where both know them)
_CLOCK = ("session", "task", "run")


def select(
    index: pd.DataFrame,
    view: str | None = "pretrain",
    exclude_subjects: Iterable[str] = (),
    modalities: Iterable[str] | None = None,
    datasets: Iterable[str] | None = None,
) -> pd.DataFrame:
    """The rows that meet all conditions; row numbers (the frame's index) are kept, so they still name windows.

    `view` is "pretrain", or a task of the recipe; None keeps all views. Subjects to leave out are written
    `dataset/subject`; those who are not in the index are ignored, so that one list of evaluation subjects serves any
    corpus. `modalities` and `datasets` are names to keep; all where left out.

    Raises CorpusError: a view, modality or dataset is not in the index, or no window is left; ConfigError: a subject is
    not written as `dataset/subject`.
    """
    keep = np.ones(len(index), bool)
    for column, wanted in {"view": view, "modality": modalities, "dataset": datasets}.items():
        if wanted is None:
            continue
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        known = [str(name) for name in index[column].unique()]
        for name in wanted:
            check_known(name, known, CorpusError, "{!r} is not in the corpus", field=column)
        keep &= index[column].isin(wanted).to_numpy()
    excluded = [exclude_subjects] if isinstance(exclude_subjects, str) else list(exclude_subjects)
    for name in excluded:
        if "/" not in name:
            raise ConfigError(f"{name!r}", field="exclude_subjects", fix="name subjects as dataset/subject")
    if excluded:
        keep &= ~subjects(index).isin(excluded).to_numpy()
    if not keep.any():
        raise CorpusError("no window is left", field="select", fix="the conditions exclude each other; loosen one")
    return index[keep]


def split_subjects(index: pd.DataFrame, fraction: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split rows into train and validation such that no subject is on both sides.

    In each dataset about `fraction` of the subjects (a ConfigError outside [0, 1)), and at least one where there are
    two, go to validation; a dataset of one subject goes to train. Who goes depends on the seed and the subject's name
    alone, so that subjects who join later move few others, and a subject's modalities stay together.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"{fraction}", field="fraction", fix="give a fraction of subjects in [0, 1)")
    subject = subjects(index)
    held_out: list[str] = []
    every = subject.cat.categories.to_series()
    for _, names in every.groupby(every.str.split("/").str[0]):
        drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        count = min(max(round(fraction * len(drawn)), 1), len(drawn) - 1) if fraction > 0 else 0
        held_out += drawn[:count]
    validation = subject.isin(held_out).to_numpy()
    return index[~validation], index[validation]


def pairs(
    index: pd.DataFrame,
    datasets: Mapping[str, str],
    *,
    view: str | Mapping[str, str] = "pretrain",
    anchor: str | None = None,
    overlap: float = 0.5,
    lag: Mapping[str, float] | None = None,
    complete: bool = True,
) -> pd.DataFrame:
    """Match windows of the same subject and time span across modalities.

    Only the caller knows which datasets show the same subjects on the same clock, so they are named: subject, session,
    task and run must then agree, and onsets are seconds of the common clock. Where one file holds both modalities, only
    windows of that file match.

    Parameters
    ----------
    index : DataFrame
        Index of a corpus; row numbers in the result are those of this frame.
    datasets : dict of str
        Modality -> dataset, such as {"eeg": "simulated_eeg", "fmri": "simulated_fmri"}.
    view : str or dict of str
        View of the windows, or one per modality.
    anchor : str, optional
        The modality whose windows are the rows of the result; the first of `datasets` by default. Of each other
        modality, the window that overlaps it longest is taken (the earlier one of two): it may serve several rows.
    overlap : float
        Least overlap, as a fraction of the shorter of the two windows.
    lag : dict of str, optional
        Modality -> seconds by which its signal follows the brain, such as {"fmri": 5.0}; taken off its onsets.
    complete : bool
        Keep only rows with all modalities; else a missing one is -1.

    Returns
    -------
    DataFrame
        One column per modality with row numbers of `index` (int64), in order of subject and onset.

    Raises
    ------
    CorpusError
        Fewer than two modalities, an unknown dataset, view or anchor, nothing matches, or several recordings of a
        subject lie on clocks that nothing tells apart.
    """
    lag = lag or {}
    anchor = anchor or next(iter(datasets))
    if len(datasets) < 2 or anchor not in datasets:
        raise CorpusError(f"{sorted(datasets)}, anchor {anchor!r}", field="datasets", fix="name two or more modalities")
    sides = {
        modality: _side(index, modality, dataset, view if isinstance(view, str) else view[modality], lag)
        for modality, dataset in datasets.items()
    }
    first = sides[anchor]
    rows = {
        modality: first["row"].to_numpy() if modality == anchor else _partners(first, side, overlap)
        for modality, side in sides.items()
    }
    table = pd.DataFrame(rows)
    matched = table.drop(columns=anchor) >= 0
    whole = matched.all(axis=1)
    if not (whole.any() if complete else matched.any(axis=None)):
        problem = f"no window of {' and '.join(datasets.values())} shows one subject at one time"
        fix = "do subject, session, task and run agree, and is there one clock?"
        raise CorpusError(problem, field="pairs", fix=fix)
    return table[whole].reset_index(drop=True) if complete else table


def _side(index: pd.DataFrame, modality: str, dataset: str, view: str, lag: Mapping[str, float]) -> pd.DataFrame:
    """Row numbers, clocks and spans of one modality, in order."""
    known, seen = index["dataset"].astype(str), index["view"].astype(str)
    of_dataset = (known == dataset) & (index["modality"].astype(str) == modality)
    if not of_dataset.any():
        fix = did_you_mean(dataset, known.unique())
        raise CorpusError(f"no {modality} window of dataset {dataset!r}", field="pairs", fix=fix)
    chosen = of_dataset & (seen == view)
    if not chosen.any():
        fix = did_you_mean(view, seen[of_dataset].unique())
        raise CorpusError(f"{dataset} has no view {view!r}", field="pairs.view", fix=fix)
    part = index[chosen]
    start = part["onset"].to_numpy(float) - lag.get(modality, 0.0)
    side = pd.DataFrame(
        {
            "row": np.flatnonzero(chosen),
            "subject": part["subject"].astype(str).to_numpy(),
            "recording": part["recording"].astype(str).to_numpy(),
            "start": start,
            "stop": start + part["n_times"].to_numpy(float) / part["sfreq"].to_numpy(float),
        }
    )
    for name in _CLOCK:
        side[name] = part[name].astype("string").fillna("").to_numpy(dtype=str) if name in part else ""
    return side.sort_values(["subject", *_CLOCK, "start"], ignore_index=True, kind="stable")


def _partners(first: pd.DataFrame, other: pd.DataFrame, overlap: float) -> np.ndarray:
    """For each row of `first` the row number in the index of the best partner in `other`, or -1."""
    found = np.full(len(first), -1, np.int64)
    of_subject: dict[Any, pd.DataFrame] = dict(iter(other.groupby("subject", sort=False)))
    for key, part in first.groupby(["subject", "recording", *_CLOCK], sort=False):
        candidates = of_subject.get(key[0])
        if candidates is None:
            continue
        for name, value in zip(_CLOCK, key[2:], strict=True):
            candidates = candidates[candidates[name].isin([value, ""]) | (value == "")]
        same = candidates["recording"] == key[1]
        if same.any():
            candidates = candidates[same]
        elif candidates["recording"].nunique() > 1:
            names = ", ".join(candidates["recording"].unique()[:3])
            problem = f"{key[1]} may lie on the clock of several recordings ({names})"
            raise CorpusError(problem, field="pairs", fix="tell them apart by {session}, {task} or {run} in the recipe")
        if not len(candidates):
            continue
        start, stop = candidates["start"].to_numpy(), candidates["stop"].to_numpy()
        for place, left, right in zip(part.index, part["start"], part["stop"], strict=True):
            shared = np.minimum(stop, right) - np.maximum(start, left)
            best = int(np.argmax(np.round(shared, 6)))
            if shared[best] >= overlap * min(right - left, stop[best] - start[best]) - 1e-6:
                found[place] = candidates["row"].iloc[best]
    return found
