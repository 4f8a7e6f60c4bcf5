"""Rows of `evaluate_task`: every set of features through the same folds or pairs, then compared person by person."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..stats.compare import mean_by_name, nanmean, paired, standard_error
from ..stats.metrics import LOWER_IS_BETTER
from ..stats.nulls import p_value
from .entries import CHANCE
from .folds import Split
from .matching import Matching, Segments
from .protocol import Task
from .questions import Measured, Question
from .transforms import Features, both_sides
from .transforms import recentred as recentred_sides

#: (features, recentred) -> what each seed measured; and by null (a prefix of columns) the observed score and the null
Outcomes = dict[tuple[str, bool], tuple[list[Measured], dict[str, np.ndarray]]]


def decoded(
    question: Question, offered: Mapping[str, list[Features]], recentred: Collection[str], n_permutations: int
) -> Outcomes:
    """Classification and regression, by a ridge; chance comes first."""
    rng = np.random.default_rng(question.task.random_state)
    labellings = {"": question.labellings(n_permutations, rng)}
    if question.task.nuisance:
        labellings["nuisance_"] = question.labellings(n_permutations, rng, nuisance=True)
    nothing = {prefix: np.zeros(1) for prefix in labellings}
    outcomes: Outcomes = {(CHANCE, False): ([question.measured(question.chance())], nothing)}
    for name, seeds in offered.items():
        for again in (False, True) if name in recentred else (False,):
            # the permutation null is made for the first seed and speaks for all
            probed = [_probed(question, x, again, {} if seed else labellings) for seed, x in enumerate(seeds)]
            outcomes[name, again] = [found for found, _ in probed], probed[0][1]
    return outcomes


def compared(task: Task, pairs: Matching | Segments, offered: Mapping[str, list[Any]], n_permutations: int) -> Outcomes:
    """Identification and matching, of features as they are and recentred (over sessions, or over a run)."""
    outcomes: Outcomes = {}
    for name, seeds in offered.items():
        if any(callable(value) for value in seeds):
            raise ConfigError(
                f"{name!r} needs a training side, and {task.kind} has none",
                field=f"{task.name}.baselines",
                fix="use 'log covariance'" if task.kind == "identification" else None,
            )
        for again in (False, True):
            # the null is made for the first seed and speaks for all
            counts = [n_permutations, *[0] * (len(seeds) - 1)]
            hits = [pairs.hits(np.asarray(x), again, n, task.random_state) for x, n in zip(seeds, counts, strict=True)]
            measured: list[Measured] = [{("session", "top1"): ([one.score], one.rates)} for one in hits]
            outcomes[name, again] = measured, {"": np.array([hits[0].score, *hits[0].null])}
    return outcomes


def rows_of(
    outcomes: Outcomes,
    chance: Mapping[tuple[str, str], float],
    tested: tuple[str, str],
    about: dict[str, Any],
    reference: str | None,
    seen: Mapping[str, Collection[str]],
) -> list[dict[str, Any]]:
    """Scores, those of each group, then pairs; nulls stand beside the `tested` (level, metric)."""
    scores, pairs = [], []
    for (name, again), (found, nulls) in outcomes.items():
        first = None if name in (reference, CHANCE) else outcomes.get((str(reference), again))
        for level, metric in found[0]:
            per_fold = np.mean([seed[level, metric][0] for seed in found], axis=0)
            by_group = mean_by_name([seed[level, metric][1] for seed in found])
            larger = metric not in LOWER_IS_BETTER
            shared = {**about, "features": name, **_flags(name, again, seen), "level": level, "metric": metric}
            row = {"row": "score", **shared, **_spread(per_fold, about.get("n_repeats", 1)), "n_seeds": len(found)}
            row |= {"chance": chance[level, metric], "group_score": nanmean(by_group.values())}
            row["group_se"] = standard_error(list(by_group.values()))
            if (level, metric) == tested:
                for prefix, null in nulls.items():
                    row |= _null_columns(prefix, null, nanmean(found[0][level, metric][0]), larger)
            scores.append(row)
            scores += [{"row": "group", **shared, "group": group, "score": value} for group, value in by_group.items()]
            if first is not None:
                row = {"row": "paired", **about, "features": reference, "against": name}
                row |= {**_flags(str(reference), again, seen), "level": level, "metric": metric}
                of_first = mean_by_name([seed[level, metric][1] for seed in first[0]])
                pairs.append(row | paired(of_first, by_group, larger))
    return [*scores, *pairs]


def _probed(
    question: Question, features: Features, recentred: bool, labellings: Mapping[str, np.ndarray]
) -> tuple[Measured, dict[str, np.ndarray]]:
    """What a ridge on the features scores, and the tested metric with the labellings of each null."""

    def sides(split: Split) -> tuple[np.ndarray, np.ndarray]:
        inside, outside = both_sides(features, split.train, split.test)
        groups = question.groups[split.train], question.groups[split.test]
        return recentred_sides(inside, outside, *groups) if recentred else (inside, outside)

    null_folds = question.null_folds(question.task.repeats)
    shared = null_folds is question.folds  # then one pass serves the scores and the first null
    used = labellings.get("", question.y[:, None]) if shared else question.y[:, None]
    tested, main = question.probed(question.folds, sides, used)
    mains = {
        prefix: main if (shared and not prefix) or y_NP.shape[1] == 1 else question.probed(null_folds, sides, y_NP)[1]
        for prefix, y_NP in labellings.items()
    }
    return question.measured(tested), mains


def _null_columns(prefix: str, values: np.ndarray, score: float, larger: bool) -> dict[str, float | None]:
    """Mean and 95 % of a null, and the p value, of the observed score and its null; None without a null.

    Where the test has folds of its own, the null is moved by what they change in the observed score.
    """
    observed, null = values[0], values[1:]
    if not len(null):
        return {} if prefix else {"null_mean": None, "null_95": None, "p_value": None}
    moved = null + score - observed
    return {
        f"{prefix}null_mean": float(moved.mean()),
        f"{prefix}null_95": float(np.quantile(moved, 0.95 if larger else 0.05)),
        f"{prefix}p_value": p_value(observed, null, larger),
    }


def _flags(name: str, recentred: bool, seen: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """What a score used of the test subjects: windows of the test, or windows that trained the model."""
    n_seen = len(seen.get(name, ()))
    return {"recentred": recentred, "transductive": recentred or n_seen > 0, "n_seen": n_seen}


def _spread(per_fold: np.ndarray, repeats: int) -> dict[str, Any]:
    """Mean over folds, their deviation, and how much the score moves with the assignment of groups to folds."""
    defined = per_fold[np.isfinite(per_fold)]
    means = [nanmean(part) for part in np.split(per_fold, repeats)]
    return {
        "score": nanmean(per_fold),
        "sd": float(defined.std()) if len(defined) > 1 else float("nan"),
        "repeat_sd": float(np.std(means, ddof=1)) if repeats > 1 else None,
    }
