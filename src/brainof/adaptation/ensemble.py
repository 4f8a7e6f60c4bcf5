"""Ensembles: what several fits on resampled people agree on, and how far they do not."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import nn

from .base import Adaptation, AdaptedEnsemble, Features
from .examples import Examples, Subset, Target
from .heads import Head
from .probes import LinearProbe
from .tuning import Nested


class Ensemble(Adaptation):
    """`members` fits of another adaptation, each on a bootstrap sample of the groups (or of the examples)."""

    name: ClassVar[str] = "ensemble"
    members: int = Field(default=5, ge=2)
    of: Nested = Field(default_factory=LinearProbe)

    def apply(
        self,
        model: nn.Module,
        examples: Examples,
        target: Target,
        *,
        features: Features | None = None,
        random_state: int = 0,
        head: Head | None = None,
    ) -> AdaptedEnsemble:
        parts = []
        for member in range(self.members):
            rows = bootstrap(target, np.random.default_rng([random_state, member]))
            some = None if features is None else (lambda pool, rows=rows: features(pool)[rows])
            groups = rows.astype(str) if target.groups is None else target.groups[rows]
            drawn = Target(target.kind, target.y[rows], target.n_outputs, groups, target.names)
            fitted = self.of.apply(
                model,
                Subset(examples, rows),
                drawn,
                features=some,
                random_state=random_state + member,
                head=head,
            )
            parts += fitted.members()
        return AdaptedEnsemble(parts, self, {**parts[0].report, "members": len(parts)})


def bootstrap(target: Target, rng: np.random.Generator, attempts: int = 100) -> np.ndarray:
    """Rows of as many groups as there are, drawn with replacement; every class is in the sample."""
    groups = np.arange(len(target)) if target.groups is None else target.groups
    names = np.unique(groups)
    rows_of = {name: np.flatnonzero(groups == name) for name in names}
    for _ in range(attempts):
        rows = np.concatenate([rows_of[name] for name in rng.choice(names, len(names))])
        if target.kind == "regression" or len(np.unique(target.y[rows])) == target.n_outputs:
            return rows
    return np.arange(len(target))  # a class of one group among many: hardly any sample holds it
