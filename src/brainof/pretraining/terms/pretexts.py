"""Cheap pretexts as helpers: which band of a window was amplified, by how much one side was shifted in phase, whether
its halves were exchanged (`pretraining/views.py`).

The output `pretext` tells: a small weight (0.1) beside other terms is what they are for.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...model.decoder import PRETEXTS
from ..views import BANDS
from .comparison import Comparison, Term, at_least_float32


def pretext_loss(logits_BK: Tensor, label_B: Tensor, n_predicted_B: Tensor) -> Tensor:
    """Each window's cross-entropy times its predicted patches."""
    error_B = F.cross_entropy(logits_BK.to(at_least_float32(logits_BK)), label_B, reduction="none")
    return (error_B * n_predicted_B).sum()


def _term(kind: str) -> Term:
    place = list(PRETEXTS).index(kind)
    first = sum(list(PRETEXTS.values())[:place])

    def loss(of: Comparison) -> Tensor:
        assert of.masked.distorted is not None
        count = len(BANDS[of.masked.batch.modality]) - 1 if kind == "band" else PRETEXTS[kind]
        logits_BK = of.looks["distorted"][:, first : first + count]
        return pretext_loss(logits_BK, of.masked.distorted.about_BK[:, place], of.n_predicted_B)

    return Term(loss, "pretext", look="distorted")


BAND, SHIFT, ORDER = (_term(kind) for kind in PRETEXTS)
