"""scikit-learn estimators on a pretrained model: BrainOFClassifier, BrainOFRegressor, BrainOFEmbedder."""

from __future__ import annotations

from .classifier import BrainOFClassifier
from .embedder import BrainOFEmbedder
from .regressor import BrainOFRegressor

__all__ = ["BrainOFClassifier", "BrainOFEmbedder", "BrainOFRegressor"]
