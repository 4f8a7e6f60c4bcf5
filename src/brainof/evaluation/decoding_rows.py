"""Decoding tasks as rows: every set of features through the same folds, then paired comparisons per subject."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..stats.compare import paired, standard_error
from ..stats.metrics import LOWER_IS_BETTER
from ..stats.nulls import labellings
from ..stats.splits import group_keys, label_of_groups, manifest
from .decoding import Features, Outcome, Problem, chance, flags, nanmean, score_features, significance
from .protocol import Task, nuisance_of, targets, task_folds

CHANCE = "chance"


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
    observed_only = replace(problem, labellings_NP=problem.labellings_NP[:, :1])
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
    floor = chance(problem)
    outcomes = {(CHANCE, False): [floor]}  # (name of the features, recentred per group?) -> one outcome per seed
    for name, seeds in offered.items():
        for again in (False, True) if name in recentred else (False,):
            # the permutation null is made for the first seed and speaks for all
            problems = [problem, *[observed_only] * (len(seeds) - 1)]
            outcomes[name, again] = [score_features(p, x, again) for p, x in zip(problems, seeds, strict=True)]
    scores: list[dict[str, Any]] = []
    pairs = []
    for (name, again), found in outcomes.items():
        first = None if name in (reference, CHANCE) else outcomes.get((str(reference), again))
        for level, metric, by_group in _measured(found):
            shared = {**about, "features": name, **flags(name, again, seen), "level": level, "metric": metric}
            row = {
                "row": "score",
                **shared,
                **_spread(problem, found, level, metric),
                "chance": floor.mean(level, metric),
            }
            row |= {"group_score": nanmean(by_group.values()), "group_se": standard_error(list(by_group.values()))}
            if level == "window" and metric == problem.main_metric:
                row |= significance(problem, found[0])
                if kept is not None and row["p_value"] is not None:
                    nuisance = score_features(kept, offered[name][0], again)
                    row |= {f"nuisance_{key}": value for key, value in significance(kept, nuisance).items()}
            scores.append(row)
            scores += [{"row": "group", **shared, "group": group, "score": value} for group, value in by_group.items()]
            if first is not None:
                row = {"row": "paired", **about, "features": reference, "against": name}
                row |= {**flags(str(reference), again, seen), "level": level, "metric": metric}
                larger = metric not in LOWER_IS_BETTER
                pairs.append(row | paired(_over_seeds(first, level, metric), by_group, larger))
    return [*scores, *pairs]


def problem_of(index: pd.DataFrame, task: Task, n_permutations: int) -> tuple[Problem, Problem | None]:
    """Labels, permuted labels and folds of a task; and the same with permuted labels that keep its nuisance."""
    y, classes = targets(index, task)
    groups, folds = task_folds(index, task, y)
    recordings, onsets = group_keys(index, "recording"), index["onset"].to_numpy(dtype=float)
    drawn = y, groups, recordings, np.random.default_rng(task.random_state)
    stratified = task.kind == "classification" and label_of_groups(np.unique(groups), groups, y) is not None
    problem = Problem(
        task.kind,
        labellings(n_permutations, *drawn, onsets=onsets),
        len(classes),
        groups,
        recordings,
        folds,
        repeats=sum(len(test) for _, test in folds) // len(y),
        null_folds=task_folds(index, task, None)[1] if stratified else None,
    )
    if not task.nuisance:
        return problem, None
    kept = labellings(n_permutations, *drawn, onsets=onsets, strata=nuisance_of(index, task))
    return problem, replace(problem, labellings_NP=kept)


def _spread(problem: Problem, seeds: list[Outcome], level: str, metric: str) -> dict[str, Any]:
    """Mean over folds, their deviation, and how much the score moves with the assignment of groups to folds."""
    per_fold = np.mean([outcome.folds[level][metric] for outcome in seeds], axis=0)
    defined = per_fold[np.isfinite(per_fold)]
    means = [nanmean(part) for part in np.split(per_fold, problem.repeats)]
    return {
        "score": nanmean(per_fold),
        "sd": float(defined.std()) if len(defined) else float("nan"),
        "repeat_sd": float(np.std(means, ddof=1)) if problem.repeats > 1 else None,
        "n_seeds": len(seeds),
    }


def _measured(seeds: list[Outcome]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Level, metric, and group -> score."""
    for level, metrics in seeds[0].folds.items():
        for metric in metrics:
            yield level, metric, _over_seeds(seeds, level, metric)


def _over_seeds(seeds: list[Outcome], level: str, metric: str) -> dict[str, float]:
    groups = seeds[0].groups[level][metric]
    return {group: nanmean(outcome.groups[level][metric][group] for outcome in seeds) for group in groups}
