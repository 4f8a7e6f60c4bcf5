"""Latents of the visible patches are those of the whole window (docs/decisions/0080), or of a view of it (0094).

`latent`: what is hidden must be told from what is seen, but in latents instead of samples. `view`: the other view is
whole, at another rate, of other channels, to another reference or of another moment (`objective.view`).

The whole window, and the view of a teacher (`objective.teacher`), get no gradient. What keeps all windows from one and
the same latents is a regulariser (`objective.regulariser`), beside or in place of a teacher.

Shape suffixes: B windows, L latents, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .comparison import Comparison, Term, at_least_float32
from .regularisers import REGULARISERS, seed_of


def latent_loss(
    latents_BLD: Tensor,
    other_BLD: Tensor,
    n_predicted_B: Tensor,
    regulariser: str = "vicreg",
    seed: int = 0,
    views: bool = False,
) -> Tensor:
    """Each window's mean square difference times its predicted patches; the regulariser of all times all of them.

    The others are a target without a gradient; as one of two `views` they learn, too, and the regulariser is the mean
    of both.
    """
    dtype = at_least_float32(latents_BLD)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        latents_BLD, other_BLD = latents_BLD.to(dtype), (other_BLD if views else other_BLD.detach()).to(dtype)
        error = ((latents_BLD - other_BLD).square().mean((1, 2)) * n_predicted_B).sum()
        apart = REGULARISERS[regulariser](latents_BLD, seed)
        if views:
            apart = (apart + REGULARISERS[regulariser](other_BLD, seed)) / 2
        return error + apart * n_predicted_B.sum()


def _latent(of: Comparison) -> Tensor:
    assert of.whole_BLD is not None
    return latent_loss(of.latents_BLD, of.whole_BLD, of.n_predicted_B, of.config.regulariser, seed_of(of.masked))


def _view(of: Comparison) -> Tensor:
    view_BLD, seed = of.looks["view"], seed_of(of.masked)
    return latent_loss(of.latents_BLD, view_BLD, of.n_predicted_B, of.config.regulariser, seed, views=True)


LATENT, VIEW = Term(_latent, None, whole=True), Term(_view, None, look="view")
