"""Latents of the visible patches predict those of the whole window (docs/decisions/0080).

What is hidden must be told from what is seen, but in latents instead of samples. The target gets no gradient. What
keeps all windows from one and the same latents is a regulariser (`objective.regulariser`), beside or in place of a
teacher (`objective.teacher`).

Shape suffixes: B windows, L latents, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .comparison import Comparison, Term, at_least_float32
from .regularisers import REGULARISERS, seed_of


def prediction_error(latents_BLD: Tensor, whole_BLD: Tensor) -> Tensor:
    """Mean square of the difference, for each window."""
    return (latents_BLD - whole_BLD).square().mean((1, 2))


def latent_loss(
    latents_BLD: Tensor, whole_BLD: Tensor, n_predicted_B: Tensor, regulariser: str = "vicreg", seed: int = 0
) -> Tensor:
    """Each window's error times its predicted patches; regularisers are of the windows at hand, times all of them."""
    dtype = at_least_float32(latents_BLD)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        latents_BLD, whole_BLD = latents_BLD.to(dtype), whole_BLD.to(dtype).detach()
        error = (prediction_error(latents_BLD, whole_BLD) * n_predicted_B).sum()
        return error + REGULARISERS[regulariser](latents_BLD, seed) * n_predicted_B.sum()


def _loss(of: Comparison) -> Tensor:
    assert of.latents_BLD is not None
    assert of.whole_BLD is not None
    counts_B, about = of.masked.predicted_mask_BH.sum(1), (of.config.regulariser, seed_of(of.masked))
    return latent_loss(of.latents_BLD, of.whole_BLD, counts_B, *about)


TERM = Term(_loss, None, whole=True)
