"""An adaptation run as one checked, serialisable object."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..schema import Schema


class AdaptConfig(Schema):
    """A recipe of `brainof adapt`.

    Examples
    --------
    >>> AdaptConfig.parse({"corpus": "corpus", "task": "eegmat/arithmetic", "adaptation": "lora"}).folds
    6
    """

    corpus: str | list[str]
    """One or several corpora."""
    task: str | dict[str, Any]
    """`dataset/task` of a dataset recipe, or the fields of `evaluation.Task`."""
    adaptation: str | dict[str, Any] = "probe"
    """A name, or `{adaptation: name, ...parameters}`."""
    folds: int | None = Field(default=6, ge=2)
    """Folds by the task's group (person, run); None leaves one group out."""
    repeats: int = Field(default=1, ge=0)
    """Cross-validations, each with other folds; 0 leaves the scores out."""
    beside: bool = True
    """Score classical baselines, chance and the amplitude control on the same folds."""
    random_state: int = 0
    accept: list[str] = Field(default_factory=list)
    """Differences from training that are taken as they are (see `ModalityContract.check`)."""
