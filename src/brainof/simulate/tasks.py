"""Cohorts whose difficulty is known: one set of parameters per question a model may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ConfigError, check_known
from ..schema import read_yaml
from .parameters import CohortParameters

#: Name -> parameters that differ from the defaults
TASKS: dict[str, dict[str, Any]] = read_yaml(Path(__file__).with_suffix(".yaml"))


def task_parameters(name: str, **changes: Any) -> CohortParameters:
    """Parameters of the cohort of a task, with changes such as `subjects=4`; ConfigError where one is not possible."""
    check_known(name, TASKS, ConfigError, "no task {!r}", field="task")
    return CohortParameters.parse({**TASKS[name], **changes}, f"task {name}")
