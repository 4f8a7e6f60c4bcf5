"""Matching: which moment of a shared stimulus is this? No labels, no training side.

Each window of a person is compared with the mean of the other people's windows of the same run; it is a hit where the
most similar one is from the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import LabelError
from ..stats.metrics import identification, similarity
from ..stats.splits import group_keys
from .identity import Hits


@dataclass(frozen=True)
class Segments:
    """By run, the rows (n_subjects, n_segments) of every person at the times that all of them have, and the people."""

    rows: dict[str, np.ndarray]
    subjects: dict[str, list[str]]
    tested: frozenset[str] = frozenset()
    """People who are scored; empty: all."""

    split = "subject"

    @property
    def people(self) -> list[str]:
        return sorted({name for names in self.subjects.values() for name in names})

    @property
    def chance(self) -> float:
        """Mean over runs of one over the number of segments."""
        return float(np.mean([1 / rows.shape[1] for rows in self.rows.values()]))

    def hits(self, features: np.ndarray, recentred: bool, n_permutations: int, random_state: int) -> Hits:
        """Hits of each person, recentred over each run of a person where asked."""
        found = matched(features, self, recentred)
        if self.tested:
            found = among(found, self.tested)
        return Hits(hit_rates(found), matching_null(found, n_permutations, random_state))


def segments(index: pd.DataFrame) -> Segments:
    """The segments of each run by film time; a LabelError where no two people saw two segments of one run."""
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
    """Run -> person -> number of the segment that is most like each of theirs, -1 for a tie; features (n_windows, F).

    `recentred` features are standardised over the segments of a person's run: no label is used, but the whole run is.
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


def among(found: dict[str, dict[str, np.ndarray]], names: frozenset[str]) -> dict[str, dict[str, np.ndarray]]:
    """What was found of some people; a run may hold none of them."""
    scored = {run: {who: hit for who, hit in people.items() if who in names} for run, people in found.items()}
    return {run: people for run, people in scored.items() if people}


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
