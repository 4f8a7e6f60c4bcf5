"""What is compared without labels or a training side: people at two sessions, moments of a shared stimulus.

Identification: is a subject's last session the one most like the first? Matching: each window of a person is compared
with the mean of the other people's windows of the same run; it is a hit where the most similar is from the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import LabelError
from ..stats.metrics import identification, similarity
from ..stats.splits import group_keys, match_sessions


class Hits(NamedTuple):
    """What comparing features found: person -> rate of top-1 hits, and the null of their mean."""

    rates: dict[str, float]
    null: np.ndarray

    @property
    def score(self) -> float:
        """Mean over people."""
        return float(np.mean(list(self.rates.values())))


@dataclass(frozen=True)
class Matching:
    """Pairs of sessions: `session_N` names the session of each window as a code, `first` and `last` number them."""

    session_N: np.ndarray
    first: np.ndarray
    last: np.ndarray
    subjects: np.ndarray

    split = "session"

    @property
    def people(self) -> list[str]:
        return self.subjects.tolist()

    @property
    def chance(self) -> float:
        return 1 / len(self.subjects)

    def hits(self, features: np.ndarray, recentred: bool, n_permutations: int = 0, random_state: int = 0) -> Hits:
        """Match first with last sessions, and back, by correlation of features (n_windows, n_features).

        `recentred` features are standardised over all sessions (transductive: it uses the whole test set, no
        identities). The null counts hits under random pairings of the same choices.
        """
        total = np.zeros((self.session_N.max() + 1, features.shape[1]))
        np.add.at(total, self.session_N, features.astype(np.float64))
        of_session = total / np.bincount(self.session_N)[:, None]  # second-order poolings are averaged before comparing
        forward, backward = identification(similarity(of_session[self.first], of_session[self.last], recentred))
        own = np.arange(len(self.subjects))
        rng = np.random.default_rng(random_state)
        null = []
        for _ in range(n_permutations):
            partner = rng.permutation(len(own))  # the last session that is said to be of the subject of each first one
            null.append(((forward == partner).mean() + (backward == np.argsort(partner)).mean()) / 2)
        both_ways = np.mean([forward == own, backward == own], axis=0)
        return Hits(dict(zip(self.people, both_ways.tolist(), strict=True)), np.array(null))


def matching(index: pd.DataFrame) -> Matching:
    """Sessions of the windows of an index, and the pair of each subject."""
    _, start, code = np.unique(group_keys(index, "session"), return_index=True, return_inverse=True)
    return Matching(code, *match_sessions(index.iloc[start]))


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
        if self.tested:  # a run may hold none of them
            scored = {run: {who: hit[who] for who in hit if who in self.tested} for run, hit in found.items()}
            found = {run: hit for run, hit in scored.items() if hit}
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
