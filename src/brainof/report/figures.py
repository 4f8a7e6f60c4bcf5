"""The figures of the reports under one name."""

from __future__ import annotations

from ..explain.reconstruction import Example
from .results import reconstructions, scores
from .style import png
from .training import expert_load, explained_variance, loss_curves

__all__ = ["Example", "expert_load", "explained_variance", "loss_curves", "png", "reconstructions", "scores"]
