"""Identification: is a subject's last session the one most like the first?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

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
        of_session = session_features(features, self)
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


def session_features(features: np.ndarray, pairs: Matching) -> np.ndarray:
    """Mean of the windows of each session: for second-order poolings the average comes before any comparison."""
    total = np.zeros((pairs.session_N.max() + 1, features.shape[1]))
    np.add.at(total, pairs.session_N, features.astype(np.float64))
    return total / np.bincount(pairs.session_N)[:, None]
