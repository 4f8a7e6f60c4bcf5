"""The tasks of a corpus by name, and a pretrained run probed on them beside the same model untrained."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from ..corpus import Corpus
from ..errors import LabelError, did_you_mean
from ..inference import embed
from ..model import BrainOF
from ..release import load
from ..release.load import record_of
from ..utils.modules import seeded
from .protocol import Task, recipe_tasks, task_rows
from .task import evaluate_task

log = logging.getLogger(__name__)


def choose_tasks(corpus: Corpus, names: Iterable[str], **changes: Any) -> list[Task]:
    """Tasks of the recipes in a corpus by name (`dataset/task`); `changes` replace fields of each."""
    known = {task.name: task for task in recipe_tasks(corpus)}
    for name in (names := list(names)):
        if name not in known:
            raise LabelError("no such task in the corpus", file=corpus.root, field=name, fix=did_you_mean(name, known))
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
    models = [model]
    if (seen := trained_on(run)) is None:
        log.warning("%s does not say which subjects trained it: its scores may be transductive", run)
    for seed in range(untrained):
        with seeded(1000 + seed):
            models.append(BrainOF(model.config).eval())
    rows: list[dict[str, Any]] = []
    for task, pool in tasks:
        chosen = task_rows(corpus.index, task)
        values = [embed(corpus, each, rows=chosen, pool=pool).values for each in models]
        features: dict[str, Any] = {"pretrained": values[0]} | ({"untrained": values[1:]} if untrained else {})
        rows += evaluate_task(
            corpus, task, features, recentred=recentred, seen={"pretrained": seen or ()}, n_permutations=n_permutations
        )
    return rows


def trained_on(run: str | PathLike[str]) -> set[str] | None:
    """Subjects ("dataset/subject") whose windows trained the model of a run or release; empty for a preset.

    None where the release is older than that list, so that nobody can tell.
    """
    data = record_of(run).get("data", ())
    if any("subjects" not in dataset for dataset in data):
        return None
    return {f"{dataset['dataset']}/{subject}" for dataset in data for subject in dataset["subjects"]}
