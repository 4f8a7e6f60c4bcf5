"""`evaluate_task`: any features on one task of a corpus, scored as a suite scores a model, without a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..corpus import Windows
from ..errors import LabelError
from .entries import MODEL, RANDOM, Entry, beside
from .protocol import Task
from .questions import Question, plain_question
from .summary import Pipeline, collect, moabb_table, summary
from .transforms import Features
from .units import plan, run_unit


def evaluate_task(
    corpus: Windows,
    task: Task,
    features: Mapping[str, Features | Sequence[Features]],
    *,
    metric: str = "",
    options: Sequence[str] = (),
    seen: Mapping[str, Collection[str]] | None = None,
    n_permutations: int = 200,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score features on a task, beside classical baselines, chance and a label-permutation null.

    Parameters
    ----------
    corpus : Corpus, or several of `open_corpora`
        Holds the windows and labels; `task_rows(corpus.index, task)` are the rows of the task.
    task : Task
    features : dict of name -> array (n_rows, F), or callable (train, test) -> arrays, or a list of these
        In the order of the task's rows. A list holds several seeds of one thing: scores are averaged over it. All
        others are held against those called "random weights". A baseline of the same name is not computed again.
    metric : str
        The tested metric; the first of the kind unless given (balanced accuracy, mean absolute error).
    options : sequence of str
        What is done to all features in rows of their own: "recentred", "centred", "erased" (`evaluation.transforms`).
    seen : dict of name -> collection of "dataset/subject", optional
        Subjects whose (unlabelled) windows trained the model behind a set of features: `trained_on(release)`. Rows of
        features that saw subjects of the task are transductive.
    n_permutations : int
        Labellings of the null; 0 leaves it out.

    Returns
    -------
    summary, results : DataFrame
        One row per set of features and option, and one per person and seed of each: the tables of `brainof.evaluate`.

    Raises
    ------
    LabelError
        Labels, view or groups do not fit the corpus, or features have another number of rows.
    ConfigError
        Unknown metric or option, or features that need a training side in a task that has none.

    Examples
    --------
    >>> lines, people = evaluate_task(corpus, task, {"mine": values})  # doctest: +SKIP
    >>> lines[["entry", "score", "low", "high", "p_value"]]  # doctest: +SKIP
    """
    question = plain_question(task, corpus, metric=metric, options=options)
    found = pipelines(question, features, seen=seen, n_permutations=n_permutations)
    return summary(found), moabb_table(found, task.name)


def pipelines(
    question: Question,
    features: Mapping[str, Features | Sequence[Features]],
    *,
    seen: Mapping[str, Collection[str]] | None = None,
    n_permutations: int = 0,
) -> list[Pipeline]:
    """What features, baselines and chance scored on each fold of a question; arguments as of `evaluate_task`."""
    people = set(question.people)
    entries = []
    for name, value in features.items():
        seeds: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
        for each in seeds:
            if isinstance(each, np.ndarray) and len(each) != len(question.rows):
                text = f"{len(each)} rows of features for {len(question.rows)} windows"
                raise LabelError(text, field=f"{question.task.name}.{name}")
        n_seen = len(people.intersection((seen or {}).get(name, ())))
        about: dict[str, Any] = {"seeds": len(seeds), "overlap": partial(_overlap, n_seen)}
        entries.append(Entry(name, RANDOM if name == RANDOM else MODEL, partial(_given, seeds), **about))
    entries += [entry for entry in beside(question) if entry.name not in features]
    cache: dict[Any, Features] = {}
    return collect({unit: run_unit(unit, cache) for unit in plan(question, entries, 1, n_permutations, 0)})


def _given(seeds: Sequence[Features], question: Question, seed: int, readout: str) -> Features:
    return seeds[seed]


def _overlap(n_seen: int, question: Question) -> tuple[int, str]:
    return n_seen, ""
