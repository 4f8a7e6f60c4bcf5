"""Decoding tasks as rows: every set of features through the same folds, then paired comparisons per subject."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..stats.compare import paired, standard_error
from ..stats.metrics import LOWER_IS_BETTER
from ..stats.nulls import permute_labels
from ..stats.splits import group_keys, label_of_groups, manifest
from .decoding import Features, Outcome, Problem, chance, flags, nanmean, score_features, significance
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
    recentred: Collection[str],
    seen: Mapping[str, Collection[str]],
    n_permutations: int,
) -> list[dict[str, Any]]:
    """Rows of `evaluate_task` for classification and regression."""
    problem, kept = problem_of(index, task, n_permutations)
    about = {
        **about,
        "split": task.split,
        "split_sha256": manifest(index, problem.folds, task.split)["sha256"],
        "n_classes": problem.n_classes,
        "n_windows": len(problem.y),
        "n_groups": len(np.unique(problem.groups)),
        "n_folds": len(problem.folds),
        "n_repeats": problem.repeats,
    }
    outcomes: Outcomes = {(CHANCE, False): [chance(problem)]}
    for name, seeds in offered.items():
        for again in (False, True) if name in recentred else (False,):
            outcomes[name, again] = score_seeds(problem, seeds, again)
    rows = _scores(problem, outcomes, about, seen)
    if kept is not None and n_permutations:
        _add_nuisance(rows, kept, offered)
    return [*rows, *_comparisons(outcomes, about, reference, seen)]


def problem_of(index: pd.DataFrame, task: Task, n_permutations: int) -> tuple[Problem, Problem | None]:
    """Labels, permuted labels and folds of a task; and the same with permuted labels that keep its nuisance."""
    y, classes = targets(index, task)
    groups, folds = task_folds(index, task, y)
    recordings, onsets = group_keys(index, "recording"), index["onset"].to_numpy(dtype=float)
    rng = np.random.default_rng(task.random_state)

    def labellings(strata: np.ndarray | None = None) -> np.ndarray:
        drawn = [
            permute_labels(y, groups, recordings, rng, onsets=onsets, strata=strata) for _ in range(n_permutations)
        ]
        return np.stack([y, *drawn], axis=1)

    stratified = task.kind == "classification" and label_of_groups(np.unique(groups), groups, y) is not None
    problem = Problem(
        task.kind,
        labellings(),
        len(classes),
        groups,
        recordings,
        folds,
        repeats=sum(len(test) for _, test in folds) // len(y),
        null_folds=task_folds(index, task, None)[1] if stratified else None,
    )
    kept = replace(problem, labellings_NP=labellings(nuisance_of(index, task))) if task.nuisance else None
    return problem, kept


def score_seeds(problem: Problem, seeds: list[Features], recentred: bool) -> list[Outcome]:
    """One outcome per seed; the permutation null is made for the first and speaks for all."""
    observed_only = replace(problem, labellings_NP=problem.labellings_NP[:, :1])
    return [
        score_features(observed_only if number else problem, value, recentred) for number, value in enumerate(seeds)
    ]


def _scores(
    problem: Problem, outcomes: Outcomes, about: dict[str, Any], seen: Mapping[str, Collection[str]]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    floor = outcomes[CHANCE, False][0]
    for (name, recentred), seeds in outcomes.items():
        for level, metric in _measured(seeds):
            by_group = _over_seeds(seeds, level, metric)
            per_fold = np.mean([outcome.folds[level][metric] for outcome in seeds], axis=0)
            defined = per_fold[np.isfinite(per_fold)]
            shared = {**about, "features": name, **flags(name, recentred, seen), "level": level, "metric": metric}
            row = {"row": "score", **shared, "score": nanmean(per_fold)}
            row |= {"sd": float(defined.std()) if len(defined) else float("nan")}
            row |= {"repeat_sd": _repeat_sd(per_fold, problem.repeats)}
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
            outcome = score_features(kept, offered[row["features"]][0], row["recentred"])
            row |= {f"nuisance_{name}": value for name, value in significance(kept, outcome).items()}


def _repeat_sd(per_fold: np.ndarray, repeats: int) -> float | None:
    """How much the score moves with the assignment of groups to folds."""
    means = [nanmean(part) for part in np.split(per_fold, repeats)]
    return float(np.std(means, ddof=1)) if repeats > 1 else None


def _comparisons(
    outcomes: Outcomes, about: dict[str, Any], reference: str | None, seen: Mapping[str, Collection[str]]
) -> list[dict[str, Any]]:
    rows = []
    for (name, recentred), seeds in outcomes.items():
        first = outcomes.get((str(reference), recentred))
        if first is None or name in (reference, CHANCE):
            continue
        for level, metric in _measured(seeds):
            row = {
                "row": "paired",
                **about,
                "features": reference,
                "against": name,
                **flags(str(reference), recentred, seen),
            }
            row |= {"level": level, "metric": metric}
            larger = metric not in LOWER_IS_BETTER
            rows.append(row | paired(_over_seeds(first, level, metric), _over_seeds(seeds, level, metric), larger))
    return rows


def _measured(seeds: list[Outcome]) -> list[tuple[str, str]]:
    return [(level, metric) for level, metrics in seeds[0].folds.items() for metric in metrics]


def _over_seeds(seeds: list[Outcome], level: str, metric: str) -> dict[str, float]:
    groups = seeds[0].groups[level][metric]
    return {group: nanmean(outcome.groups[level][metric][group] for outcome in seeds) for group in groups}
