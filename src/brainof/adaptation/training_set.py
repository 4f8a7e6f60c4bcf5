"""What an adaptation learns from: examples, their targets, and where to start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from ..errors import LabelError
from ..inference.batches import pooled
from ..inference.examples import Examples, Subset
from .heads import Head

#: pooling -> features (n, F) of all examples from the backbone as it was given: a cache, where the caller keeps one
Features = Callable[[str], np.ndarray]


@dataclass(frozen=True, eq=False)
class Target:
    """What examples should map to: class codes (n,) from 0, or values (n, K)."""

    kind: str
    """ "classification" or "regression"."""
    y: np.ndarray
    n_outputs: int
    """Classes, or K."""
    groups: np.ndarray | None = None
    """Subject (or session) of each example: never on both sides of a validation split."""
    names: np.ndarray | None = None
    """Class of each code."""

    @classmethod
    def classes(cls, labels: Any, groups: Any = None) -> Target:
        """Codes of labels, in the order of the sorted class names; a LabelError for one class only or other lengths."""
        names, codes = np.unique(np.asarray(labels), return_inverse=True)
        if len(names) < 2:
            raise LabelError(f"one class only, {names.tolist()}", field="y", fix="give labels of at least two classes")
        return cls("classification", codes.astype(np.int64), len(names), _groups(groups, len(codes)), names)

    @classmethod
    def coded(cls, y: np.ndarray, names: Sequence[str], groups: np.ndarray) -> Target:
        """Codes of classes that have names, or values where there are none."""
        if not names:
            return cls.values(y, groups)
        return cls("classification", y.astype(np.int64), len(names), groups, np.array(names))

    @classmethod
    def values(cls, y: Any, groups: Any = None) -> Target:
        """Values of a regression, (n,) or (n, K); a LabelError where one is not finite."""
        values = np.asarray(y, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            text = f"{int(wrong.sum())} of {len(values)} targets are NaN or infinite, the first at {first}"
            raise LabelError(text, field="y", fix="leave those samples out")
        return cls("regression", values, values.shape[1], _groups(groups, len(values)))

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> Target:
        """The targets of some examples."""
        return replace(self, y=self.y[rows], groups=None if self.groups is None else self.groups[rows])


def _groups(groups: Any, n: int) -> np.ndarray | None:
    if groups is None:
        return None
    names = np.asarray(groups).astype(str)
    if len(names) != n:
        raise LabelError(f"{len(names)} groups for {n} examples", field="groups")
    return names


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What an adaptation learns from; `head` is where to start (the second of two stages).

    `features` is pooling -> features (n, F) of the examples by the backbone as it was given; computed where it is not.
    """

    examples: Examples
    target: Target
    features: Features | None = None
    random_state: int = 0
    head: Head | None = None

    def pooled(self, model: nn.Module, pool: str) -> np.ndarray:
        """Features (n, F) of the examples."""
        return self.features(pool) if self.features else pooled(model, self.examples, pool)

    def take(self, rows: np.ndarray) -> TrainingSet:
        """Some of the examples, possibly repeated."""
        whole = self.features
        features = None if whole is None else lambda pool: whole(pool)[rows]
        return replace(self, examples=Subset(self.examples, rows), target=self.target.take(rows), features=features)
