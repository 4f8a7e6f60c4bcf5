"""Identification: is a subject's last session the one most like the first?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError
from ..stats.compare import paired, standard_error
from ..stats.metrics import identification, similarity
from ..stats.nulls import p_value
from ..stats.splits import group_keys, match_sessions
from .decoding import flags


@dataclass(frozen=True)
class Matching:
    """Pairs of sessions: `session_N` names the session of each window as a code, `first` and `last` number them."""

    session_N: np.ndarray
    first: np.ndarray
    last: np.ndarray
    subjects: np.ndarray


def matching(index: pd.DataFrame) -> Matching:
    """Sessions of the windows of an index, and the pair of each subject."""
    _, start, code = np.unique(group_keys(index, "session"), return_index=True, return_inverse=True)
    table = index.iloc[start]
    first, last, subjects = match_sessions(table)
    return Matching(code, first, last, subjects)


def session_features(features: np.ndarray, pairs: Matching) -> np.ndarray:
    """Mean of the windows of each session: for second-order poolings the average comes before any comparison."""
    n = pairs.session_N.max() + 1
    total = np.zeros((n, features.shape[1]))
    np.add.at(total, pairs.session_N, features.astype(np.float64))
    return total / np.bincount(pairs.session_N)[:, None]


@dataclass(frozen=True)
class Identified:
    """Top-1 hits of each subject both ways, and hits under random pairings of the same choices."""

    forward: np.ndarray
    backward: np.ndarray
    null: np.ndarray

    @property
    def score(self) -> float:
        return float((self.forward.mean() + self.backward.mean()) / 2)

    @property
    def p_value(self) -> float | None:
        return p_value(self.score, self.null) if len(self.null) else None


def identify(
    features: np.ndarray, pairs: Matching, standardised: bool, n_permutations: int = 0, random_state: int = 0
) -> Identified:
    """Match first with last sessions by correlation.

    Parameters
    ----------
    features : ndarray, shape (n_windows, n_features)
    pairs : Matching
    standardised : bool
        Standardise features over all sessions (transductive: it uses the whole test set, no identities).
    n_permutations : int
        Random pairings for the null.
    """
    of_session = session_features(features, pairs)
    forward, backward = identification(similarity(of_session[pairs.first], of_session[pairs.last], standardised))
    own = np.arange(len(pairs.subjects))
    rng = np.random.default_rng(random_state)
    null = []
    for _ in range(n_permutations):
        partner = rng.permutation(len(own))  # the last session that is said to be of the same subject as each first one
        null.append(((forward == partner).mean() + (backward == np.argsort(partner)).mean()) / 2)
    return Identified(forward == own, backward == own, np.array(null))


def identification_rows(
    index: pd.DataFrame,
    offered: Mapping[str, list[Any]],
    about: dict[str, Any],
    reference: str | None,
    seen: Mapping[str, Collection[str]],
    n_permutations: int,
    random_state: int,
) -> list[dict[str, Any]]:
    """Rows of `evaluate_task` for identification: every set of features, raw and standardised over sessions."""
    pairs = matching(index)
    about = {**about, "split": "session", "n_windows": len(index), "n_groups": len(pairs.subjects)}
    subjects = pairs.subjects.tolist()
    rows: list[dict[str, Any]] = []
    hits: dict[tuple[str, bool], dict[str, float]] = {}
    for name, seeds in offered.items():
        if any(callable(value) for value in seeds):
            raise ConfigError(
                f"{name!r} needs a training side, and identification has none",
                field=f"{about['task']}.baselines",
                fix="use 'log covariance'",
            )
        for standardised in (False, True):
            found = [
                identify(np.asarray(value), pairs, standardised, 0 if seed else n_permutations, random_state)
                for seed, value in enumerate(seeds)
            ]
            shared = {"features": name, **flags(name, standardised, seen), "level": "session"}
            for metric, values in _hit_rates(found).items():
                row = {"row": "score", **about, **shared, "metric": metric, "score": float(values.mean())}
                row |= {"group_score": float(values.mean()), "group_se": standard_error(values)}
                row |= {"n_seeds": len(seeds), "chance": 1 / len(subjects)}
                if metric == "top1":
                    row |= _null(found[0])
                    hits[name, standardised] = dict(zip(subjects, values.tolist(), strict=True))
                rows.append(row)
            rows += [
                {"row": "group", **about, **shared, "metric": "top1", "group": subject, "score": value}
                for subject, value in hits[name, standardised].items()
            ]
    for (name, standardised), of_subjects in hits.items():
        if name != reference and (reference, standardised) in hits:
            row = {"row": "paired", **about, "features": reference, "against": name}
            row |= {**flags(str(reference), standardised, seen), "level": "session", "metric": "top1"}
            rows.append(row | paired(hits[str(reference), standardised], of_subjects))
    return rows


def _null(found: Identified) -> dict[str, float | None]:
    if not len(found.null):
        return {"null_mean": None, "null_95": None, "p_value": None}
    spread = {"null_mean": float(found.null.mean()), "null_95": float(np.quantile(found.null, 0.95))}
    return {**spread, "p_value": found.p_value}


def _hit_rates(found: list[Identified]) -> dict[str, np.ndarray]:
    forward = np.mean([one.forward for one in found], axis=0)
    backward = np.mean([one.backward for one in found], axis=0)
    return {"top1": (forward + backward) / 2, "top1_forward": forward, "top1_backward": backward}
