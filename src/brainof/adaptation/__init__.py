"""Adaptation: how a pretrained backbone is made to answer a question; each way is a small config with one `apply`."""

from __future__ import annotations

from ..inference.examples import CorpusRows, PreparedWindow, WindowList
from .base import ADAPTATIONS, Adaptation, Adapted, AdaptedEnsemble, Target, TrainingSet, adaptation
from .nested import Ensemble, FewShot, TwoStage, few_shot_rows
from .probes import AttentiveProbe, LinearProbe, MLPProbe
from .tuning import FullFineTune, LoRA

WAYS = (LinearProbe, MLPProbe, AttentiveProbe, LoRA, FullFineTune, FewShot, TwoStage, Ensemble)
# "frozen" is the backbone as it is, with the linear probe where labels are asked for
ADAPTATIONS |= {"frozen": LinearProbe, **{way.name: way for way in WAYS}}

__all__ = [
    "ADAPTATIONS",
    "Adaptation",
    "Adapted",
    "AdaptedEnsemble",
    "AttentiveProbe",
    "CorpusRows",
    "Ensemble",
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
