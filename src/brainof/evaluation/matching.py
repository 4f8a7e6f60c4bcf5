"""Matching: which moment of a shared stimulus is this? No labels, no training side.

Each window of a person is compared with the mean of the other people's windows of the same run; it is a hit where the
most similar one is from the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, LabelError
from ..stats.compare import paired, standard_error
from ..stats.metrics import identification, similarity
from ..stats.nulls import p_value
from ..stats.splits import group_keys
from .decoding import flags


@dataclass(frozen=True)
class Segments:
    """Rows of every person at the times that all people of a run have.

    Attributes
    ----------
    rows : dict of run -> ndarray of int, shape (n_subjects, n_segments)
    subjects : dict of run -> list of str
    """

    rows: dict[str, np.ndarray]
    subjects: dict[str, list[str]]

    @property
    def chance(self) -> float:
        """Mean over runs of one over the number of segments."""
        return float(np.mean([1 / rows.shape[1] for rows in self.rows.values()]))


def segments(index: pd.DataFrame) -> Segments:
    """The segments of each run by film time.

    Raises
    ------
    LabelError
        No run was seen by two people with two segments in common.
    """
    subjects, onsets = group_keys(index, "subject"), index["onset"].round(3).to_numpy()
    columns = [index[name].astype("string").fillna("") for name in ("dataset", "session", "task", "run")]
    runs = np.array(["/".join(row) for row in zip(*columns, strict=True)])
    rows, names = {}, {}
    for run in np.unique(runs):
        own = np.flatnonzero(runs == run)
        table = pd.Series(own, index=[subjects[own], onsets[own]]).unstack().dropna(axis=1).astype(int)
        if len(table) > 1 and table.shape[1] > 1:
            rows[str(run)], names[str(run)] = table.to_numpy(), [str(name) for name in table.index]
    if not rows:
        raise LabelError("no run with two segments was seen by two people", field="matching")
    return Segments(rows, names)


def matched(features: np.ndarray, of: Segments, recentred: bool = False) -> dict[str, dict[str, np.ndarray]]:
    """Run -> person -> number of the segment that is most like each of theirs, -1 for a tie.

    Parameters
    ----------
    features : ndarray, shape (n_windows, n_features)
    of : Segments
    recentred : bool
        Standardise each feature over the segments of a person's run first; no label is used, but the whole run is.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for run, rows in of.rows.items():
        X = features[rows].astype(np.float64)  # (n_subjects, n_segments, n_features)
        X = np.where(np.isfinite(X), X, 0.0)
        if recentred:
            scale = X.std(axis=1, keepdims=True)
            X = (X - X.mean(axis=1, keepdims=True)) / np.where(scale > 1e-12, scale, np.inf)
        total = X.sum(axis=0)
        found[run] = {
            name: identification(similarity(own, (total - own) / (len(X) - 1), standardised=False))[0]
            for name, own in zip(of.subjects[run], X, strict=True)
        }
    return found


def hit_rates(found: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """Person -> mean over runs of the fraction of segments found."""
    rates: dict[str, list[float]] = {}
    for people in found.values():
        for name, chosen in people.items():
            rates.setdefault(name, []).append(float((chosen == np.arange(len(chosen))).mean()))
    return {name: float(np.mean(values)) for name, values in rates.items()}


def matching_null(found: dict[str, dict[str, np.ndarray]], n: int, random_state: int = 0) -> np.ndarray:
    """Mean hit rate where the times of each run are exchanged, `n` draws."""
    rng = np.random.default_rng(random_state)
    null = []
    for _ in range(n):
        rates = []
        for people in found.values():
            order = rng.permutation(len(next(iter(people.values()))))
            rates += [float((chosen == order).mean()) for chosen in people.values()]
        null.append(float(np.mean(rates)))
    return np.array(null)


def matching_rows(
    index: pd.DataFrame,
    offered: Mapping[str, list[Any]],
    about: dict[str, Any],
    reference: str | None,
    seen: Mapping[str, Collection[str]],
    n_permutations: int,
    random_state: int,
) -> list[dict[str, Any]]:
    """Rows of `evaluate_task` for matching: every set of features, raw and standardised over each run of a person."""
    of = segments(index)
    about = {**about, "split": "subject", "n_windows": len(index)}
    rows: list[dict[str, Any]] = []
    rates: dict[tuple[str, bool], dict[str, float]] = {}
    for name, seeds in offered.items():
        if any(callable(value) for value in seeds):
            raise ConfigError(
                f"{name!r} needs a training side, and matching has none", field=f"{about['task']}.baselines"
            )
        for recentred in (False, True):
            found = [matched(np.asarray(value), of, recentred) for value in seeds]
            each = [hit_rates(one) for one in found]
            hits = rates[name, recentred] = {who: float(np.mean([one[who] for one in each])) for who in each[0]}
            null = matching_null(found[0], n_permutations, random_state)
            shared = {"features": name, **flags(name, recentred, seen), "level": "session", "metric": "top1"}
            score = float(np.mean(list(hits.values())))
            first = float(np.mean(list(each[0].values())))
            row = {"row": "score", **about, **shared, "n_groups": len(hits), "score": score, "group_score": score}
            row |= {"group_se": standard_error(list(hits.values())), "n_seeds": len(seeds), "chance": of.chance}
            if len(null):
                row |= {"null_mean": float(null.mean()), "null_95": float(np.quantile(null, 0.95))}
                row |= {"p_value": p_value(first, null)}
            rows.append(row)
            rows += [{"row": "group", **about, **shared, "group": who, "score": value} for who, value in hits.items()]
    for (name, recentred), hits in rates.items():
        if name != reference and (reference, recentred) in rates:
            row = {"row": "paired", **about, "features": reference, "against": name, "level": "session"}
            row |= {**flags(str(reference), recentred, seen), "metric": "top1"}
            rows.append(row | paired(rates[str(reference), recentred], hits))
    return rows
