"""Pairs: windows of several modalities that show the same subject at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import CorpusError, did_you_mean

#: Columns that must agree, beside the subject, for two windows to lie on one clock (where both know them)
_CLOCK = ("session", "task", "run")


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
    found = {anchor: first["row"].to_numpy()}
    for modality, side in sides.items():
        if modality != anchor:
            found[modality] = _partners(first, side, overlap)
    table = pd.DataFrame({modality: found[modality] for modality in datasets})
    matched = table.drop(columns=anchor) >= 0
    whole = matched.all(axis=1)
    if not (whole.any() if complete else matched.any(axis=None)):
        problem = f"no window of {' and '.join(datasets.values())} shows one subject at one time"
        raise CorpusError(
            problem, field="pairs", fix="do subject, session, task and run agree, and is there one clock?"
        )
    return table[whole].reset_index(drop=True) if complete else table


def _side(index: pd.DataFrame, modality: str, dataset: str, view: str, lag: Mapping[str, float]) -> pd.DataFrame:
    """Row numbers, clocks and spans of one modality, in order."""
    known = index["dataset"].astype(str)
    chosen = (known == dataset) & (index["modality"].astype(str) == modality)
    if not chosen.any():
        fix = did_you_mean(dataset, known.unique())
        raise CorpusError(f"no {modality} window of dataset {dataset!r}", field="pairs", fix=fix)
    seen = index["view"].astype(str)
    if not (chosen & (seen == view)).any():
        fix = did_you_mean(view, seen[chosen].unique())
        raise CorpusError(f"{dataset} has no view {view!r}", field="pairs.view", fix=fix)
    part = index[chosen & (seen == view)]
    start = part["onset"].to_numpy(float) - lag.get(modality, 0.0)
    side = pd.DataFrame(
        {
            "row": np.flatnonzero(chosen & (seen == view)),
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
        if (candidates["recording"] == key[1]).any():
            candidates = candidates[candidates["recording"] == key[1]]
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
