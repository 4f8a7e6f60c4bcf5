"""Self-distillation between two views, as DINO does (arXiv:2104.14294); with `objective.view.crop`, between two crops.

Each latent of the visible patches, of unit length and divided by a temperature, is the logits of a distribution over
the D dimensions; that of the other view, less its mean over the windows at hand (centring) and at a lower temperature
(sharpening), is the target and gets no gradient. DINO's head is left out: its prototypes are the dimensions themselves.

`distill`: the other view is the target. `networks`: the window at the resolution of networks has to predict the whole
window at that of regions, by the model itself or its teacher, in the latents of `objective.aligned`.

Shape suffixes: B windows, L latents, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .comparison import Comparison, Term, at_least_float32

STUDENT, TEACHER = 0.1, 0.04


def distill_loss(latents_BLD: Tensor, view_BLD: Tensor, n_predicted_B: Tensor) -> Tensor:
    """Each window's cross-entropy, a mean over latents, times its predicted patches; 0 of a single window."""
    if len(latents_BLD) < 2:
        return latents_BLD.sum() * 0.0
    dtype = at_least_float32(latents_BLD)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        own_BLD = F.normalize(latents_BLD.to(dtype), dim=-1)
        view_BLD = F.normalize(view_BLD.to(dtype), dim=-1).detach()
        target_BLD = ((view_BLD - view_BLD.mean(0)) / TEACHER).softmax(-1)
        entropy_B = -(target_BLD * (own_BLD / STUDENT).log_softmax(-1)).sum(-1).mean(-1)
        return (entropy_B * n_predicted_B).sum()


def _networks(of: Comparison) -> Tensor:
    if "networks" not in of.looks:  # no window of the batch has any
        return of.latents_BLD.sum() * 0.0
    assert of.whole_BLD is not None
    part = of.aligned or slice(None)
    return distill_loss(of.looks["networks"][:, part], of.whole_BLD[:, part], of.n_predicted_B)


NETWORKS = Term(_networks, None, whole=True, look="networks")
TERM = Term(lambda of: distill_loss(of.latents_BLD, of.looks["view"], of.n_predicted_B), None, look="view")
