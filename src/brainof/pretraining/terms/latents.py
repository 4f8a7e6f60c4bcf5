"""Terms that compare windows as wholes: their latents with those of another look at them, or what was done to them.

`latent`, `view`: latents of the visible patches are those of the whole window (docs/decisions/0080), so that what is
hidden must be told from what is seen, but in latents instead of samples; or of a view of it (0094): whole, at another
rate, of other channels, to another reference or of another moment (`objective.view`). The whole window, and the view of
a teacher (`objective.teacher`), get no gradient. What keeps all windows from one and the same latents is a regulariser
(`objective.regulariser`), beside or in place of a teacher.

`distill`: self-distillation between two views, as DINO does (arXiv:2104.14294). `networks`: the window at the
resolution of networks has to predict the whole window at that of regions, by the model itself or its teacher, in the
latents of `objective.aligned`.

`align`: two people at the same moment are alike, and unlike other moments (InfoNCE, arXiv:1807.03748). This is
supervised by the stimulus (`objective.stimulus` says which datasets share one): call it aligned, never self-supervised.

`band`, `shift`, `order`: cheap pretexts as helpers, told by the output `pretext`: which band of a window was amplified,
by how much one side was shifted in phase, whether its halves were exchanged (`pretraining/views.py`). A small weight
(0.1) beside other terms is what they are for.

Shape suffixes: B windows, L latents, D width, K directions or facts, P points.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...model.decoder import PRETEXTS
from ..views import BANDS
from .comparison import Comparison, at_least_float32

#: VICReg's weights (arXiv:2105.04906), 25 : 25 : 1 with the error
VARIANCE, COVARIANCE = 1.0, 0.04
#: Of SIGReg
DIRECTIONS, POINTS, REACH = 64, 17, 5.0
#: Temperatures of self-distillation
STUDENT, TEACHER = 0.1, 0.04
#: Of alignment; moments of the same run less than NEAR seconds apart are neither alike nor unlike
TEMPERATURE, NEAR = 0.1, 60.0


def vicreg(latents_BLD: Tensor, seed: int = 0) -> Tensor:
    """VICReg's two regularisers over windows, each latent about its own mean; 0 of a single window.

    By how much standard deviations lie below 1, a mean over latents and dimensions; squares of the covariances between
    dimensions, pooled over latents, summed and divided by D.
    """
    B, L, D = latents_BLD.shape
    if B < 2:
        return latents_BLD.new_zeros(())
    centred_BLD = latents_BLD - latents_BLD.mean(0)
    spread_LD = (centred_BLD.square().sum(0) / (B - 1) + 1e-4).sqrt()
    rows = centred_BLD.flatten(0, 1)
    covariance_DD = rows.T @ rows / ((B - 1) * L)
    off_diagonal = covariance_DD.square().sum() - covariance_DD.diagonal().square().sum()
    return VARIANCE * F.relu(1 - spread_LD).mean() + COVARIANCE * (off_diagonal / D)


def directions(width: int, seed: int) -> Tensor:
    """Unit vectors (D, K), float64."""
    drawn_DK = torch.randn(width, DIRECTIONS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn_DK / drawn_DK.norm(dim=0)


def sigreg(latents_BLD: Tensor, seed: int = 0) -> Tensor:
    """SIGReg (arXiv:2511.08544): latents over windows become an isotropic Gaussian; 0 of a single window.

    Along a direction u the distance between the empirical characteristic function of the projected latents and that of
    a standard normal distribution is, as Epps & Pulley (1983) weigh it,

        integral of |mean_n exp(i t u.z_n) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt,

    here by the trapezoid rule on POINTS points between -REACH and REACH, averaged over directions and latents.
    """
    if len(latents_BLD) < 2:
        return latents_BLD.new_zeros(())
    along_BLK = latents_BLD @ directions(latents_BLD.shape[-1], seed).to(latents_BLD)
    points_P = torch.linspace(-REACH, REACH, POINTS, dtype=latents_BLD.dtype, device=latents_BLD.device)
    normal_P = torch.exp(-points_P.square() / 2)
    angle_BLKP = along_BLK[..., None] * points_P
    real_LKP, imaginary_LKP = angle_BLKP.cos().mean(0), angle_BLKP.sin().mean(0)
    distance_LKP = (real_LKP - normal_P).square() + imaginary_LKP.square()
    return torch.trapezoid(distance_LKP * normal_P, points_P, dim=-1).mean()


#: `objective.regulariser` -> (latents (B, L, D), seed of what is drawn) -> loss
REGULARISERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "vicreg": vicreg,
    "sigreg": sigreg,
    "none": lambda latents_BLD, seed: latents_BLD.new_zeros(()),
}


def latent_loss(
    latents_BLD: Tensor,
    other_BLD: Tensor,
    n_predicted_B: Tensor,
    regulariser: str = "vicreg",
    seed: int = 0,
    *,
    both: bool = False,
) -> Tensor:
    """Each window's mean square difference times its predicted patches; the regulariser of all times all of them.

    `both`: the mean of the regularisers of both; else the others get no gradient.
    """
    dtype = at_least_float32(latents_BLD)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        latents_BLD, other_BLD = latents_BLD.to(dtype), (other_BLD if both else other_BLD.detach()).to(dtype)
        error = ((latents_BLD - other_BLD).square().mean((1, 2)) * n_predicted_B).sum()
        apart = REGULARISERS[regulariser](latents_BLD, seed)
        if both:
            apart = (apart + REGULARISERS[regulariser](other_BLD, seed)) / 2
        return error + apart * n_predicted_B.sum()


def alike(of: Comparison, other_BLD: Tensor | None, both: bool) -> Tensor:
    """`latent_loss` by a seed that differs from batch to batch and depends on nothing but its windows."""
    assert other_BLD is not None
    seed = sum(of.masked.batch.rows) % 2**31
    return latent_loss(of.latents_BLD, other_BLD, of.n_predicted_B, of.config.regulariser, seed, both=both)


def distill_loss(latents_BLD: Tensor, view_BLD: Tensor, n_predicted_B: Tensor) -> Tensor:
    """Each window's cross-entropy, a mean over latents, times its predicted patches; 0 of a single window.

    Each latent, of unit length and divided by a temperature, is the logits of a distribution over the D dimensions;
    that of the view, less its mean over the windows at hand (centring) and at a lower temperature (sharpening), is the
    target and gets no gradient. DINO's head is left out: its prototypes are the dimensions themselves.
    """
    if len(latents_BLD) < 2:
        return latents_BLD.sum() * 0.0
    dtype = at_least_float32(latents_BLD)
    with torch.autocast(latents_BLD.device.type, enabled=False):
        own_BLD = F.normalize(latents_BLD.to(dtype), dim=-1)
        view_BLD = F.normalize(view_BLD.to(dtype), dim=-1).detach()
        target_BLD = ((view_BLD - view_BLD.mean(0)) / TEACHER).softmax(-1)
        entropy_B = -(target_BLD * (own_BLD / STUDENT).log_softmax(-1)).sum(-1).mean(-1)
        return (entropy_B * n_predicted_B).sum()


def networks(of: Comparison) -> Tensor:
    """`distill_loss` of the networks with the whole window as target."""
    if "networks" not in of.looks:  # no window of the batch has any
        return of.latents_BLD.sum() * 0.0
    assert of.whole_BLD is not None
    part = of.aligned or slice(None)
    return distill_loss(of.looks["networks"][:, part], of.whole_BLD[:, part], of.n_predicted_B)


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


def align(of: Comparison) -> Tensor:
    """`align_loss` of the latents of `objective.aligned`."""
    if of.masked.partner is None:  # nobody of the batch has one
        return of.latents_BLD.sum() * 0.0
    part, about_BK = of.aligned or slice(None), of.masked.partner.about_BK
    return align_loss(of.latents_BLD[:, part], of.looks["partner"][:, part], about_BK, of.n_predicted_B)


def pretext_loss(logits_BK: Tensor, label_B: Tensor, n_predicted_B: Tensor) -> Tensor:
    """Each window's cross-entropy times its predicted patches."""
    error_B = F.cross_entropy(logits_BK.to(at_least_float32(logits_BK)), label_B, reduction="none")
    return (error_B * n_predicted_B).sum()


def pretext(kind: str, of: Comparison) -> Tensor:
    """`pretext_loss` of the logits of one pretext among those of all."""
    assert of.masked.distorted is not None
    place = list(PRETEXTS).index(kind)
    first = sum(list(PRETEXTS.values())[:place])
    count = len(BANDS[of.masked.batch.modality]) - 1 if kind == "band" else PRETEXTS[kind]
    logits_BK = of.looks["distorted"][:, first : first + count]
    return pretext_loss(logits_BK, of.masked.distorted.about_BK[:, place], of.n_predicted_B)
