"""Few-shot: some examples per class, nested, so that a learning curve adds examples and never exchanges them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from torch import nn

from ..errors import LabelError
from .base import Adaptation, Adapted, AdaptedEnsemble
from .probes import LinearProbe
from .training_set import Target, TrainingSet
from .tuning import Nested


def few_shot_rows(target: Target, shots: int, repeat: int = 0, random_state: int = 0) -> np.ndarray:
    """Rows of `shots` examples of each class (of as many examples in all, for regression).

    With the same repeat and seed, fewer shots are a part of more shots. A LabelError where a class has fewer examples.
    """
    codes = target.y if target.kind == "classification" else np.zeros(len(target), int)
    rows = []
    for code in np.unique(codes):
        own = np.flatnonzero(codes == code)
        if len(own) < shots:
            name = str(code if target.names is None else target.names[code])
            raise LabelError(f"class {name!r} has {len(own)} examples, {shots} were asked for", field="shots")
        rng = np.random.default_rng([random_state, repeat, int(code)])
        rows.append(rng.permutation(own)[:shots])
    return np.sort(np.concatenate(rows))


class FewShot(Adaptation):
    """Another adaptation, on `shots` examples per class.

    A learning curve is a loop over `shots` and `repeat`; the examples of a repeat are nested.
    """

    name: ClassVar[str] = "few_shot"
    shots: int = Field(default=5, ge=1)
    repeat: int = Field(default=0, ge=0)
    then: Nested = Field(default_factory=LinearProbe)

    def apply(self, model: nn.Module, data: TrainingSet) -> Adapted | AdaptedEnsemble:
        rows = few_shot_rows(data.target, self.shots, self.repeat, data.random_state)
        found = self.then.apply(model, data.take(rows))
        found.report = {**found.report, "examples": len(rows)}
        return found
