"""evaluate_task: the same windows, folds and probe for embeddings, untrained models, baselines, chance and nulls.

The result is a list of plain dicts. Their key "row" tells what they are: "score" (one set of features, one metric),
"paired" (the reference against another set of features, per subject) and "group" (one subject).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus import Corpus, Windows
from ..errors import ConfigError, LabelError, check_known
from ..inference import embed
from ..paths import user_path
from ..release import load
from ..stats.compare import mean_by_name, nanmean, paired, standard_error
from ..stats.metrics import LOWER_IS_BETTER
from ..stats.nulls import p_value
from ..stats.splits import group_keys, manifest
from ..utils.files import write_json
from ..utils.values import finite
from .baselines import baseline_features
from .entries import CHANCE, initialised
from .leaks import trained_on
from .matching import Matching, Segments
from .protocol import Task, recipe_tasks, task_rows, task_windows
from .questions import Measured, Question, plain_question
from .transforms import PLAIN, RECENTRED, Features

log = logging.getLogger(__name__)

#: (features, recentred) -> what each seed measured; and by null (a prefix of columns) the observed score and the null
Outcomes = dict[tuple[str, bool], tuple[list[Measured], dict[str, np.ndarray]]]


def evaluate_task(
    corpus: Windows,
    task: Task,
    features: Mapping[str, Features | Sequence[Features]],
    *,
    recentred: Collection[str] = (),
    seen: Mapping[str, Collection[str]] | None = None,
    n_permutations: int = 200,
) -> list[dict[str, Any]]:
    """Score features on a task, beside classical baselines, chance and a label-permutation null.

    Parameters
    ----------
    corpus : Corpus or Corpora
        Holds the windows and labels; `task_rows(corpus.index, task)` are the rows of the task.
    task : Task
    features : dict of name -> array (n_rows, F), or callable (train, test) -> arrays, or a list of these
        In the order of the task's rows. A list holds several seeds of one thing (untrained models): scores are
        averaged over it. A baseline of the same name is not computed again. The first is compared with all others
        subject by subject.
    recentred : collection of str
        Names (of features or baselines) that are scored a second time with features recentred per group, which uses
        the unlabelled windows of the test subjects; those rows have recentred=True and transductive=True.
    seen : dict of name -> collection of "dataset/subject", optional
        Subjects whose (unlabelled) windows trained the model behind a set of features: `trained_on(release)`. Rows of
        features that saw subjects of the task have transductive=True and their number in "n_seen".
    n_permutations : int
        Labellings of the null; 0 leaves it out.

    Returns
    -------
    rows : list of dict
        See the head of this file. `save_rows` writes them as JSON.

    Raises
    ------
    LabelError
        Labels, view or groups do not fit the corpus, or features have another number of rows.
    """
    question = plain_question(task, corpus)
    rows, index, modality = question.rows, question.index, question.modality
    offered: dict[str, list[Any]] = {
        name: list(value) if isinstance(value, (list, tuple)) else [value] for name, value in features.items()
    }
    for name, seeds in offered.items():
        for value in seeds:
            if isinstance(value, np.ndarray) and len(value) != len(rows):
                raise LabelError(f"{len(value)} rows of features for {len(rows)} windows", field=f"{task.name}.{name}")
    subjects = set(group_keys(index, "subject"))
    overlap = {name: subjects & set(trained) for name, trained in (seen or {}).items()}
    reference = next(iter(offered), None)
    if missing := [name for name in question.baselines if name not in offered]:
        windows, sfreqs = task_windows(corpus, rows)
        offered |= {name: [baseline_features(name, modality, windows, sfreqs)] for name in missing}
    about: dict[str, Any] = {
        "task": task.name,
        "dataset": ", ".join(sorted(index["dataset"].astype(str).unique())),
        "modality": modality,
        "kind": task.kind,
    }
    log.info("%s: %d windows, features %s", task.name, len(rows), ", ".join(offered))
    if question.decodes:
        folds = [(split.train, split.test) for split in question.folds]
        about |= {
            "split": task.split,
            "split_sha256": manifest(index, folds, task.split)["sha256"],
            "n_classes": len(question.classes),
            "n_windows": len(rows),
            "n_groups": len(np.unique(question.groups)),
            "n_folds": len(folds),
            "n_repeats": sum(len(test) for _, test in folds) // len(rows),
        }
        outcomes, tested = decoded(question, offered, recentred, n_permutations), ("window", question.metric)
        chance = {key: nanmean(scores) for key, (scores, _) in outcomes[CHANCE, False][0][0].items()}
    else:
        pairs = question.pairs
        assert isinstance(pairs, Matching | Segments)
        about |= {"split": pairs.split, "n_windows": len(rows), "n_groups": len(pairs.people)}
        outcomes, tested = compared(task, pairs, offered, n_permutations), ("session", "top1")
        chance = {tested: pairs.chance}
    return rows_of(outcomes, chance, tested, about, reference, overlap)


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
    null_folds = question.null_folds(question.task.repeats)
    shared = null_folds is question.folds  # then one pass serves the scores and the first null
    for name, seeds in offered.items():
        for again in (False, True) if name in recentred else (False,):
            option = RECENTRED if again else PLAIN
            measured, nulls = [], {}
            for seed, x in enumerate(seeds):
                # the permutation null is made for the first seed and speaks for all
                first = labellings[""] if shared and not seed else question.y[:, None]
                scores, main = question.probed(question.folds, x, first, option)
                measured.append(question.measured(scores))
                for prefix, y_NP in labellings.items() if not seed else ():
                    known = (shared and not prefix) or not n_permutations
                    nulls[prefix] = main if known else question.probed(null_folds, x, y_NP, option)[1]
            outcomes[name, again] = measured, nulls
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

    def used(name: str, recentred: bool) -> dict[str, Any]:
        """What a score used of the test subjects: windows of the test, or windows that trained the model."""
        n_seen = len(seen.get(name, ()))
        return {"recentred": recentred, "transductive": recentred or n_seen > 0, "n_seen": n_seen}

    scores, pairs = [], []
    repeats = about.get("n_repeats", 1)
    for (name, again), (found, nulls) in outcomes.items():
        first = None if name in (reference, CHANCE) else outcomes.get((str(reference), again))
        for level, metric in found[0]:
            per_fold = np.mean([seed[level, metric][0] for seed in found], axis=0)
            defined = per_fold[np.isfinite(per_fold)]
            means = [nanmean(part) for part in np.split(per_fold, repeats)]
            by_group = mean_by_name([seed[level, metric][1] for seed in found])
            larger = metric not in LOWER_IS_BETTER
            shared = {**about, "features": name, **used(name, again), "level": level, "metric": metric}
            row = {"row": "score", **shared, "score": nanmean(per_fold)}
            row["sd"] = float(defined.std()) if len(defined) > 1 else float("nan")
            row["repeat_sd"] = float(np.std(means, ddof=1)) if repeats > 1 else None  # of the assignment to folds
            row |= {"n_seeds": len(found), "chance": chance[level, metric], "group_score": nanmean(by_group.values())}
            row["group_se"] = standard_error(list(by_group.values()))
            if (level, metric) == tested:
                for prefix, null in nulls.items():
                    row |= _null_columns(prefix, null, nanmean(found[0][level, metric][0]), larger)
            scores.append(row)
            scores += [{"row": "group", **shared, "group": group, "score": value} for group, value in by_group.items()]
            if first is not None:
                row = {"row": "paired", **about, "features": reference, "against": name}
                row |= {**used(str(reference), again), "level": level, "metric": metric}
                of_first = mean_by_name([seed[level, metric][1] for seed in first[0]])
                pairs.append(row | paired(of_first, by_group, larger))
    return [*scores, *pairs]


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


def save_rows(rows: Sequence[Mapping[str, Any]], path: str | PathLike[str]) -> None:
    """Write rows as JSON (NaN becomes null); the file appears complete or not at all."""
    write_json(user_path(path), finite(list(rows), digits=17))


def choose_tasks(corpus: Corpus, names: Iterable[str], **changes: Any) -> list[Task]:
    """Tasks of the recipes in a corpus by name (`dataset/task`); `changes` replace fields of each."""
    known = {task.name: task for task in recipe_tasks(corpus)}
    for name in (names := list(names)):
        check_known(name, known, LabelError, "no such task in the corpus", file=corpus.root, field=name)
    return [known[name].model_copy(update=changes) for name in names]


def evaluate_run(
    corpus: Corpus,
    run: Path,
    tasks: Sequence[tuple[Task, str]],
    *,
    untrained: int = 3,
    recentred: Collection[str] = (),
    n_permutations: int = 200,
) -> list[dict[str, Any]]:
    """Probe frozen embeddings of a run, beside the same model untrained, classical baselines, chance and a null.

    `tasks` come each with the pooling of the latents; `untrained` counts random initialisations of the architecture;
    `recentred` and `n_permutations` as in `evaluate_task`.
    """
    model, _ = load(run)
    models = [model, *(initialised(model.config, seed) for seed in range(untrained))]
    if (seen := trained_on(run)) is None:
        log.warning("%s does not say which subjects trained it: its scores may be transductive", run)
    rows: list[dict[str, Any]] = []
    for task, pool in tasks:
        chosen = task_rows(corpus.index, task)
        values = [embed(corpus, each, rows=chosen, pool=pool).values for each in models]
        features: dict[str, Any] = {"pretrained": values[0]} | ({"untrained": values[1:]} if untrained else {})
        rows += evaluate_task(
            corpus, task, features, recentred=recentred, seen={"pretrained": seen or ()}, n_permutations=n_permutations
        )
    return rows
