"""Adaptations made of others: on few examples, in two stages, or several times on resampled subjects."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator
from torch import nn

from ..errors import LabelError
from ..schema import wrong
from .base import Adaptation, Adapted, AdaptedEnsemble, Target, TrainingSet, adaptation
from .probes import LinearProbe
from .tuning import FullFineTune

#: A field that holds another adaptation, or the name or mapping that means it
Nested = Annotated[
    SerializeAsAny[Adaptation],
    BeforeValidator(lambda value: adaptation(value) if isinstance(value, (str, dict)) else value),
]


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


class TwoStage(Adaptation):
    """First a head on the frozen backbone, then both together from there: large first gradients spare the backbone."""

    name: ClassVar[str] = "two_stage"
    first: Nested = Field(default_factory=LinearProbe)
    second: Nested = Field(default_factory=FullFineTune)

    @field_validator("first")
    @classmethod
    def _one_head(cls, first: Adaptation) -> Adaptation:
        if first.several:
            raise wrong("an ensemble has several heads, and the second stage starts from one")
        return first

    def apply(self, model: nn.Module, data: TrainingSet) -> Adapted | AdaptedEnsemble:
        (first,) = self.first.apply(model, data).members()
        head: Any = copy.deepcopy(first.head).requires_grad_(True)
        with torch.no_grad():  # the temperature goes into the last map: logits are calibrated from the start
            for parameter in head.linear.parameters():
                parameter.div_(first.temperature)
        found = self.second.apply(model, replace(data, head=head))
        found.report = {**found.report, "first_stage": first.report}
        return found


class Ensemble(Adaptation):
    """`members` fits of another adaptation, each on a bootstrap sample of the groups (or of the examples)."""

    name: ClassVar[str] = "ensemble"
    members: int = Field(default=5, ge=2)
    of: Nested = Field(default_factory=LinearProbe)

    @property
    def several(self) -> bool:
        return True

    def apply(self, model: nn.Module, data: TrainingSet) -> AdaptedEnsemble:
        if data.target.groups is None:  # an example that is drawn twice stays on one side of a validation split
            data = replace(data, target=replace(data.target, groups=np.arange(len(data.target))))
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
