"""Two views of one window have the same latents (docs/decisions/0094).

The visible patches of the window are one view; the other is whole, at another rate, of other channels, to another
reference or of another moment (`objective.view`). Without a teacher both are trained and a regulariser keeps windows
apart; a teacher's view gets no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .comparison import Comparison, Term, at_least_float32
from .latent import prediction_error
from .regularisers import REGULARISERS, seed_of


def view_loss(latents_BLD: Tensor, view_BLD: Tensor, n_predicted_B: Tensor, regulariser: str, seed: int) -> Tensor:
    """Each window's mean square difference times its predicted patches; regularisers as the mean of both views."""
    dtype = at_least_float32(latents_BLD)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        latents_BLD, view_BLD = latents_BLD.to(dtype), view_BLD.to(dtype)
        error = (prediction_error(latents_BLD, view_BLD) * n_predicted_B).sum()
        apart = (REGULARISERS[regulariser](latents_BLD, seed) + REGULARISERS[regulariser](view_BLD, seed)) / 2
        return error + apart * n_predicted_B.sum()


def _loss(of: Comparison) -> Tensor:
    assert of.latents_BLD is not None
    counts_B, about = of.masked.predicted_mask_BH.sum(1), (of.config.regulariser, seed_of(of.masked))
    return view_loss(of.latents_BLD, of.looks["view"], counts_B, *about)


TERM = Term(_loss, None, look="view")
