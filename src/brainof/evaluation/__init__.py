"""Tasks of a corpus, classical baselines, and scores with controls on the same windows and folds."""

from __future__ import annotations

from .adapt import adapt
from .baselines import BASELINES
from .bench import Evaluation, evaluate
from .protocol import Task, recipe_tasks, task_rows
from .suite import Suite, SuiteTask, find_suite
from .task import evaluate_task

__all__ = [
    "BASELINES",
    "Evaluation",
    "Suite",
    "SuiteTask",
    "Task",
    "adapt",
    "evaluate",
    "evaluate_task",
    "find_suite",
    "recipe_tasks",
    "task_rows",
]
