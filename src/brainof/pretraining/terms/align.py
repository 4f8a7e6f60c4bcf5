"""Alignment by stimulus: two people at the same moment are alike, and unlike other moments (InfoNCE, arXiv:1807.03748).

This is supervised by the stimulus (`objective.stimulus` says which datasets share one): call it aligned, never
self-supervised. Moments of the same run less than NEAR seconds apart are neither.

Shape suffixes: B windows (of one person, and of their partners), L latents, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .comparison import Comparison, Term, at_least_float32

TEMPERATURE, NEAR = 0.1, 60.0


def align_loss(latents_BLD: Tensor, partner_BLD: Tensor, about_BK: Tensor, n_predicted_B: Tensor) -> Tensor:
    """Each window's cross-entropy of its partner among partners, times its predicted patches; 0 where it has none.

    `about_BK` is that of `View`: has a partner, run, milliseconds.
    """
    dtype = at_least_float32(latents_BLD)
    there_B, run_B, time_B = about_BK.unbind(1)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        own_BF, other_BF = (F.normalize(x.to(dtype).flatten(1), dim=-1) for x in (latents_BLD, partner_BLD))
        near_BB = (run_B[:, None] == run_B) & ((time_B[:, None] - time_B).abs() < 1000 * NEAR)
        near_BB = near_BB & ~torch.eye(len(near_BB), dtype=torch.bool, device=near_BB.device)
        logits_BB = (own_BF @ other_BF.T / TEMPERATURE).masked_fill(near_BB, -torch.inf)
        entropy_B = -logits_BB.log_softmax(-1).diagonal()
        return (entropy_B * there_B * n_predicted_B).sum()


def _loss(of: Comparison) -> Tensor:
    if of.masked.partner is None:  # nobody of the batch has one
        return of.latents_BLD.sum() * 0.0
    part = of.aligned or slice(None)
    about = of.masked.partner.about_BK, of.n_predicted_B
    return align_loss(of.latents_BLD[:, part], of.looks["partner"][:, part], *about)


TERM = Term(_loss, None, look="partner")
