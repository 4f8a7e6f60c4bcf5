"""The tasks of a corpus by name, and a pretrained run probed on them beside the same model untrained."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..corpus import Corpus
from ..errors import LabelError, check_known
from ..inference import embed
from ..release import load
from .entries import initialised
from .leaks import trained_on
from .protocol import Task, recipe_tasks, task_rows
from .task import evaluate_task

log = logging.getLogger(__name__)


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
