"""Adaptation: how a pretrained backbone is made to answer a question; each way is a small config with one `apply`."""

from __future__ import annotations

from ..inference.examples import CorpusRows, Examples, PreparedWindow, WindowList
from .base import ADAPTATIONS, Adaptation, Adapted, AdaptedEnsemble, adaptation
from .nested import Ensemble, FewShot, TwoStage, few_shot_rows
from .probes import AttentiveProbe, LinearProbe, MLPProbe
from .training_set import Target, TrainingSet
from .tuning import FullFineTune, LoRA

# "frozen" is the backbone as it is, with the linear probe where labels are asked for
ADAPTATIONS |= {
    "frozen": LinearProbe,
    **{kind.name: kind for kind in (LinearProbe, MLPProbe, AttentiveProbe, LoRA, FullFineTune)},
    **{kind.name: kind for kind in (FewShot, TwoStage, Ensemble)},
}

__all__ = [
    "ADAPTATIONS",
    "Adaptation",
    "Adapted",
    "AdaptedEnsemble",
    "AttentiveProbe",
    "CorpusRows",
    "Ensemble",
    "Examples",
    "FewShot",
    "FullFineTune",
    "LinearProbe",
    "LoRA",
    "MLPProbe",
    "PreparedWindow",
    "Target",
    "TrainingSet",
    "TwoStage",
    "WindowList",
    "adaptation",
    "few_shot_rows",
]
