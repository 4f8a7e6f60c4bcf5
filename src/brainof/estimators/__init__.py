"""scikit-learn estimators on a pretrained model: BrainOFClassifier, BrainOFRegressor, BrainOFEmbedder."""

from __future__ import annotations

from .embedder import BrainOFEmbedder
from .predictors import BrainOFClassifier, BrainOFRegressor

__all__ = ["BrainOFClassifier", "BrainOFEmbedder", "BrainOFRegressor"]
