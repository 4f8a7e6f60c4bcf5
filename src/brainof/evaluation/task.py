"""evaluate_task: the same windows, folds and probe for embeddings, untrained models, baselines, chance and nulls.

The result is a list of plain dicts. Their key "row" tells what they are: "score" (one set of features, one metric),
"paired" (the reference against another set of features, per subject) and "group" (one subject).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LabelError
from ..paths import user_path
from ..stats.compare import nanmean
from ..stats.splits import group_keys, manifest
from ..utils.files import write_json
from ..utils.values import finite
from .baselines import baseline_features
from .entries import CHANCE
from .matching import Matching, Segments
from .protocol import Task, task_windows
from .questions import plain_question
from .rows import compared, decoded, rows_of
from .transforms import Features

if TYPE_CHECKING:
    from ..corpus import Windows

log = logging.getLogger(__name__)


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
    rows, index = question.rows, question.index
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
    modality = question.modality
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


def save_rows(rows: Sequence[Mapping[str, Any]], path: str | PathLike[str]) -> None:
    """Write rows as JSON (NaN becomes null); the file appears complete or not at all."""
    write_json(user_path(path), finite(list(rows), digits=17))
