"""Embeddings, leak-free splits, metrics, probes, classical baselines, nulls and tasks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .baselines import BASELINES as BASELINES
    from .embeddings import Embeddings as Embeddings
    from .embeddings import load_embeddings as load_embeddings
    from .probe import RidgeProbe as RidgeProbe
    from .probe import recentre as recentre
    from .protocol import Task as Task
    from .protocol import recipe_tasks as recipe_tasks
    from .protocol import task_rows as task_rows
    from .splits import CrossSubject as CrossSubject
    from .splits import LeaveOneRunOut as LeaveOneRunOut
    from .splits import manifest as manifest
    from .task import evaluate_task as evaluate_task
    from .task import rows_to_frame as rows_to_frame
    from .task import save_rows as save_rows

# on first use: embedding a file needs neither scikit-learn nor scipy.stats.
# `embed` is a module here; the function is brainof.embed
_HOMES = {
    "BASELINES": ".baselines",
    "Embeddings": ".embeddings",
    "load_embeddings": ".embeddings",
    "RidgeProbe": ".probe",
    "recentre": ".probe",
    "Task": ".protocol",
    "recipe_tasks": ".protocol",
    "task_rows": ".protocol",
    "CrossSubject": ".splits",
    "LeaveOneRunOut": ".splits",
    "manifest": ".splits",
    "evaluate_task": ".task",
    "rows_to_frame": ".task",
    "save_rows": ".task",
}

__all__ = [
    "BASELINES",
    "CrossSubject",
    "Embeddings",
    "LeaveOneRunOut",
    "RidgeProbe",
    "Task",
    "evaluate_task",
    "load_embeddings",
    "manifest",
    "recentre",
    "recipe_tasks",
    "rows_to_frame",
    "save_rows",
    "task_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
