"""Decoding tasks as rows: every set of features through the same folds, then paired comparisons per person."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..stats.compare import paired, standard_error
from ..stats.metrics import LOWER_IS_BETTER
from ..stats.nulls import permutation_units, permute_labels
from ..stats.splits import group_keys, manifest
from .decoding import Features, Outcome, Problem, chance, nanmean, score_features, significance
from .protocol import Task, nuisance_of, targets, task_folds

CHANCE = "chance"

#: (name of the features, recentred per group?) -> one outcome per seed
Outcomes = dict[tuple[str, bool], list[Outcome]]


def decoding_rows(
    index: pd.DataFrame,
    task: Task,
    offered: Mapping[str, list[Features]],
    about: dict[str, Any],
    reference: str | None,
    transductive: Collection[str],
    n_permutations: int,
) -> list[dict[str, Any]]:
    """Rows of `evaluate_task` for classification and regression."""
    y, classes = targets(index, task)
    groups, folds = task_folds(index, task, y)
    recordings = group_keys(index, "recording")
    units = permutation_units(y, groups, recordings)
    rng = np.random.default_rng(task.random_state)
    permuted = [permute_labels(y, groups, units, rng, task.permute) for _ in range(n_permutations)]
    problem = Problem(task.kind, np.stack([y, *permuted], axis=1), len(classes), groups, recordings, folds)
    kept = None
    if task.nuisance:
        strata = nuisance_of(index, task)
        permuted = [permute_labels(y, groups, units, rng, task.permute, strata) for _ in range(n_permutations)]
        kept = replace(problem, labellings=np.stack([y, *permuted], axis=1))
    about = {
        **about,
        "split": task.split,
        "split_sha256": manifest(index, folds, task.split)["sha256"],
        "n_classes": len(classes),
        "n_windows": len(y),
        "n_groups": len(np.unique(groups)),
        "n_folds": len(folds),
    }
    outcomes: Outcomes = {(CHANCE, False): [chance(problem)]}
    for name, seeds in offered.items():
        for recentred in (False, True) if name in transductive else (False,):
            outcomes[name, recentred] = score_seeds(problem, seeds, recentred)
    rows = _scores(problem, outcomes, about)
    if kept is not None and n_permutations:
        _add_nuisance(rows, kept, offered)
    return [*rows, *_comparisons(outcomes, about, reference)]


def score_seeds(problem: Problem, seeds: list[Features], transductive: bool) -> list[Outcome]:
    """One outcome per seed; the permutation null is made for the first and speaks for all."""
    observed_only = replace(problem, labellings=problem.labellings[:, :1])
    return [
        score_features(observed_only if number else problem, value, transductive) for number, value in enumerate(seeds)
    ]


def _scores(problem: Problem, outcomes: Outcomes, about: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    floor = outcomes[CHANCE, False][0]
    for (name, recentred), seeds in outcomes.items():
        for level, metric in _measured(seeds):
            by_group = _over_seeds(seeds, level, metric)
            per_fold = np.mean([outcome.folds[level][metric] for outcome in seeds], axis=0)
            defined = per_fold[np.isfinite(per_fold)]
            shared = {**about, "features": name, "transductive": recentred, "level": level, "metric": metric}
            row = {"row": "score", **shared, "score": nanmean(per_fold)}
            row |= {"sd": float(defined.std()) if len(defined) else float("nan")}
            row |= {"group_score": nanmean(by_group.values()), "group_se": standard_error(list(by_group.values()))}
            row |= {"n_seeds": len(seeds), "chance": floor.mean(level, metric)}
            if level == "window" and metric == problem.main_metric:
                row |= significance(problem, seeds[0])
            rows.append(row)
            rows += [{"row": "group", **shared, "group": group, "score": value} for group, value in by_group.items()]
    return rows


def _add_nuisance(rows: list[dict[str, Any]], kept: Problem, offered: Mapping[str, list[Features]]) -> None:
    """What the nuisance alone explains, beside each score that has a permutation null (in place)."""
    for row in rows:
        if row["row"] == "score" and row.get("p_value") is not None:
            outcome = score_features(kept, offered[row["features"]][0], row["transductive"])
            row |= {f"nuisance_{name}": value for name, value in significance(kept, outcome).items()}


def _comparisons(outcomes: Outcomes, about: dict[str, Any], reference: str | None) -> list[dict[str, Any]]:
    rows = []
    for (name, recentred), seeds in outcomes.items():
        first = outcomes.get((str(reference), recentred))
        if first is None or name in (reference, CHANCE):
            continue
        for level, metric in _measured(seeds):
            row = {"row": "paired", **about, "features": reference, "against": name, "transductive": recentred}
            row |= {"level": level, "metric": metric}
            larger = metric not in LOWER_IS_BETTER
            rows.append(row | paired(_over_seeds(first, level, metric), _over_seeds(seeds, level, metric), larger))
    return rows


def _measured(seeds: list[Outcome]) -> list[tuple[str, str]]:
    return [(level, metric) for level, metrics in seeds[0].folds.items() for metric in metrics]


def _over_seeds(seeds: list[Outcome], level: str, metric: str) -> dict[str, float]:
    groups = seeds[0].groups[level][metric]
    return {group: nanmean(outcome.groups[level][metric][group] for outcome in seeds) for group in groups}
