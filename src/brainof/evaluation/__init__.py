"""Tasks of a corpus, classical baselines, and scores with controls on the same windows and folds."""

from __future__ import annotations

from .adapt import adapt
from .baselines import BASELINES
from .protocol import Task, recipe_tasks, task_rows
from .task import evaluate_task, rows_to_frame, save_rows

__all__ = [
    "BASELINES",
    "Task",
    "adapt",
    "evaluate_task",
    "recipe_tasks",
    "rows_to_frame",
    "save_rows",
    "task_rows",
]
