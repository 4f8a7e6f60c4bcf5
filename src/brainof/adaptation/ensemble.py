"""Ensembles: what several fits on resampled subjects agree on, and how far they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import nn

from .base import Adaptation, AdaptedEnsemble
from .probes import LinearProbe
from .training_set import Target, TrainingSet
from .tuning import Nested


class Ensemble(Adaptation):
    """`members` fits of another adaptation, each on a bootstrap sample of the groups (or of the examples)."""

    name: ClassVar[str] = "ensemble"
    members: int = Field(default=5, ge=2)
    of: Nested = Field(default_factory=LinearProbe)

    def apply(self, model: nn.Module, data: TrainingSet) -> AdaptedEnsemble:
        if data.target.groups is None:  # an example that is drawn twice stays on one side of a validation split
            data = replace(data, target=replace(data.target, groups=np.arange(len(data.target)).astype(str)))
        parts = []
        for member in range(self.members):
            rows = bootstrap(data.target, np.random.default_rng([data.random_state, member]))
            drawn = replace(data.take(rows), random_state=data.random_state + member)
            parts += self.of.apply(model, drawn).members()
        return AdaptedEnsemble(parts, self, {**parts[0].report, "members": len(parts)})


def bootstrap(target: Target, rng: np.random.Generator, attempts: int = 100) -> np.ndarray:
    """Rows of as many groups as there are, drawn with replacement; every class is in the sample."""
    groups = np.asarray(target.groups)
    names = np.unique(groups)
    rows_of = {name: np.flatnonzero(groups == name) for name in names}
    for _ in range(attempts):
        rows = np.concatenate([rows_of[name] for name in rng.choice(names, len(names))])
        if target.kind == "regression" or len(np.unique(target.y[rows])) == target.n_outputs:
            return rows
    return np.arange(len(target))  # a class of one group among many: hardly any sample holds it
