"""Decoding tasks as rows: every set of features through the same folds, then paired comparisons per subject."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..stats.compare import paired, standard_error
from ..stats.metrics import LOWER_IS_BETTER
from ..stats.splits import manifest
from .decoding import CHANCE, Features, both_sides, flags, mean_by_name, nanmean, null_summary
from .folds import Split
from .questions import Measured, Question
from .transforms import recentred as recentred_sides


def decoding_rows(
    question: Question,
    offered: Mapping[str, list[Features]],
    about: dict[str, Any],
    reference: str | None,
    recentred: Collection[str],
    seen: Mapping[str, Collection[str]],
    n_permutations: int,
) -> list[dict[str, Any]]:
    """Rows of `evaluate_task` for classification and regression."""
    task, groups, folds = question.task, question.groups, question.folds
    rng = np.random.default_rng(task.random_state)
    labellings = {"": question.labellings(n_permutations, rng)}
    if task.nuisance:
        labellings["nuisance_"] = question.labellings(n_permutations, rng, nuisance=True)
    about = {
        **about,
        "split": task.split,
        "split_sha256": manifest(question.index, [(split.train, split.test) for split in folds], task.split)["sha256"],
        "n_classes": len(question.classes),
        "n_windows": len(question.y),
        "n_groups": len(np.unique(groups)),
        "n_folds": len(folds),
        "n_repeats": sum(len(split.test) for split in folds) // len(question.y),
    }
    floor = question.measured(question.chance())
    nothing = {prefix: np.zeros(1) for prefix in labellings}
    outcomes: dict[tuple[str, bool], tuple[list[Measured], dict[str, np.ndarray]]] = {
        (CHANCE, False): ([floor], nothing)
    }
    for name, seeds in offered.items():
        for again in (False, True) if name in recentred else (False,):
            # the permutation null is made for the first seed and speaks for all
            probed = [_probed(question, x, again, {} if seed else labellings) for seed, x in enumerate(seeds)]
            outcomes[name, again] = [found for found, _ in probed], probed[0][1]
    scores, pairs = [], []
    for (name, again), (found, mains) in outcomes.items():
        first = None if name in (reference, CHANCE) else outcomes.get((str(reference), again))
        for level, metric in found[0]:
            per_fold = np.mean([seed[level, metric][0] for seed in found], axis=0)
            by_group = mean_by_name([seed[level, metric][1] for seed in found])
            shared = {**about, "features": name, **flags(name, again, seen), "level": level, "metric": metric}
            row = {"row": "score", **shared, **_spread(per_fold, about["n_repeats"]), "n_seeds": len(found)}
            row |= {"chance": nanmean(floor[level, metric][0]), "group_score": nanmean(by_group.values())}
            row["group_se"] = standard_error(list(by_group.values()))
            larger = metric not in LOWER_IS_BETTER
            if (level, metric) == ("window", question.metric):
                for prefix, (observed, *null) in mains.items():
                    # where the test has folds of its own, the null is moved by what they change in the observed score
                    moved = np.array(null) + nanmean(found[0][level, metric][0]) - observed
                    if not prefix or len(null):
                        values = null_summary(observed, np.array(null), larger, moved)
                        row |= {f"{prefix}{key}": value for key, value in values.items()}
            scores.append(row)
            scores += [{"row": "group", **shared, "group": group, "score": value} for group, value in by_group.items()]
            if first is not None:
                row = {"row": "paired", **about, "features": reference, "against": name}
                row |= {**flags(str(reference), again, seen), "level": level, "metric": metric}
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


def _spread(per_fold: np.ndarray, repeats: int) -> dict[str, Any]:
    """Mean over folds, their deviation, and how much the score moves with the assignment of groups to folds."""
    defined = per_fold[np.isfinite(per_fold)]
    means = [nanmean(part) for part in np.split(per_fold, repeats)]
    return {
        "score": nanmean(per_fold),
        "sd": float(defined.std()) if len(defined) else float("nan"),
        "repeat_sd": float(np.std(means, ddof=1)) if repeats > 1 else None,
    }
