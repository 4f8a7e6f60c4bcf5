"""Does the decoder use the latents? Explained variance with real and with shuffled latents, per dataset.

A falling loss does not tell: Smooth L1 of about 0.37 is what a model reaches that ignores its latents and predicts
zeros. What tells is the gap between the explained variance with real latents and with latents of other windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import HealthError
from ..model.tokens import Tokens, take_tokens
from ..utils.modules import evaluating
from .masking import MaskedBatch
from .objective import Objective
from .terms.comparison import clean_patches
from .terms.connectivity import connectivity_targets
from .terms.log_spectrum import spectra

#: Fewer windows have no rank to speak of: two of them have 1
SPREAD_WINDOWS = 4

#: Explained variances of a health check, by what is predicted
SCORES = ("r2", "r2_visible", "r2_log_spectrum", "r2_connectivity")


def explained_variance(predicted: Tensor, target: Tensor, weight: Tensor, centre: Tensor | float = 0.0) -> float:
    """1 - squared error / squared deviation from `centre`, over weighted elements; NaN where nothing varies."""
    error = ((predicted - target) ** 2 * weight).sum()
    variance = ((target - centre) ** 2 * weight).sum()
    return float(1 - error / variance) if variance > 0 else float("nan")


def check_batch(objective: Objective, masked: MaskedBatch, people: Sequence[str] = ()) -> dict[str, float]:
    """Health of one batch of one dataset (at least two windows), in evaluation mode; `people` says whose they are.

    `scores_of_latents`; `identity`; `rank`: effective rank (exponential of the entropy of the squared singular values)
    of the windows' latents; `latent_cosine`: mean cosine between latents of a window.
    """
    with evaluating(objective):
        tokens = objective.model.tokens(masked.batch)
        latents_BLD = objective.encode(masked, tokens)
        row = scores_of_latents(objective, masked, tokens, latents_BLD)
    row["rank"], row["latent_cosine"] = spread(latents_BLD)
    return row | identity(latents_BLD.float(), people)


def identity(latents_BLD: Tensor, people: Sequence[str]) -> dict[str, float]:
    """Share of windows whose most similar other window is of the same person, and what chance gives.

    By the cosine about the mean; nothing where no two windows are of one person, or all are. A model of states should
    not be near 1.
    """
    names, code = np.unique(np.asarray(people, str), return_inverse=True)
    same_BB = torch.from_numpy(code[:, None] == code).to(latents_BLD.device)
    n = len(code)
    if len(names) < 2 or int(same_BB.sum()) == n:
        return {}
    unit_BF = torch.nn.functional.normalize((latents_BLD - latents_BLD.mean(0)).flatten(1), dim=1)
    nearest_B = (unit_BF @ unit_BF.T).fill_diagonal_(-2).argmax(1)
    found = same_BB[torch.arange(n, device=same_BB.device), nearest_B].float().mean()
    return {"identity": float(found), "identity_chance": (int(same_BB.sum()) - n) / (n * (n - 1))}


def scores_of_latents(
    objective: Objective, masked: MaskedBatch, tokens: Tokens, latents_BLD: Tensor
) -> dict[str, float]:
    """Explained variance of the hidden patches, with the right latents and as `NAME_shuffled` with other windows'.

    `r2`: of samples, against zero, and `r2_visible` that of the visible patches, where the objective predicts them;
    `r2_log_spectrum`: of log spectra, against their mean over the batch; `r2_connectivity`: of correlation profiles,
    against the mean of each place over the batch; the latter two where the model predicts them.
    """
    target_BHS, sample_mask_BHS = clean_patches(masked, tokens)
    hidden_BH1 = masked.hidden_mask_BH[..., None]
    visible_BHS = sample_mask_BHS & ~hidden_BH1
    full_BH1 = (sample_mask_BHS.all(-1, keepdim=True) & hidden_BH1).float()
    found: dict[str, float] = {}
    for suffix, source_BLD in (("", latents_BLD), ("_shuffled", latents_BLD.roll(1, 0))):
        outputs = {name: each.float() for name, each in objective.decode(masked, tokens, source_BLD).items()}
        of = outputs["waveform"], target_BHS
        found[f"r2{suffix}"] = explained_variance(*of, (sample_mask_BHS & hidden_BH1).float())
        if visible_BHS.any():
            found[f"r2_visible{suffix}"] = explained_variance(*of, visible_BHS.float())
        if "log_spectrum" in outputs and full_BH1.any():
            target_BHF = spectra(masked, target_BHS, objective.config)
            centre_F = (target_BHF * full_BH1).sum((0, 1)) / full_BH1.sum()
            of = outputs["log_spectrum"], target_BHF
            found[f"r2_log_spectrum{suffix}"] = explained_variance(*of, full_BH1, centre_F)
        if "connectivity" in outputs:
            profile_BND = connectivity_targets(tokens, masked.mean_1PCC)
            mean_BND = profile_BND.mean(0, keepdim=True).expand_as(profile_BND)
            target_BHD, centre_BHD = (take_tokens(each, masked.predicted_BH) for each in (profile_BND, mean_BND))
            of = outputs["connectivity"], target_BHD
            found[f"r2_connectivity{suffix}"] = explained_variance(*of, hidden_BH1.float(), centre_BHD)
    return found


def spread(latents_BLD: Tensor) -> tuple[float, float]:
    """`rank` and `latent_cosine` of `check_batch`; NaN where latents are not finite."""
    if not (latents_BLD := latents_BLD.float()).isfinite().all():
        return float("nan"), float("nan")
    all_BF = latents_BLD.flatten(1)  # a mean over latents would hide what contrasts put into their differences
    energy = torch.linalg.svdvals(all_BF - all_BF.mean(0)) ** 2
    fraction = energy / energy.sum().clamp(min=1e-12)
    rank = float((-(fraction * (fraction + 1e-12).log()).sum()).exp())
    unit = torch.nn.functional.normalize(latents_BLD, dim=-1)
    L = latents_BLD.shape[1]
    cosine = float(((unit @ unit.mT).sum((1, 2)) - L).mean() / max(1, L * (L - 1)))
    return rank, cosine


def latent_use(row: Mapping[str, Any]) -> float:
    """The largest gain of real over shuffled latents among the outputs of one dataset that explain something."""
    outputs = [name for name in SCORES if (row.get(name) or 0.0) > 0]
    return max((row[name] - row[f"{name}_shuffled"] for name in outputs), default=0.0)


def require_latent_use(rows: Mapping[str, Mapping[str, Any]], margin: float) -> list[str]:
    """Datasets whose reconstruction does not use the latents; a HealthError where all do not: nothing was learned."""
    ignoring = sorted(name for name, row in rows.items() if latent_use(row) < margin)
    if rows and len(ignoring) == len(rows):
        best = max(rows, key=lambda name: latent_use(rows[name]))
        text = "nothing was learned yet, the decoder ignores the latents: what it puts into hidden patches gains "
        text += f"{latent_use(rows[best]):.3f} of explained variance (at best, on {best}) over latents of other windows"
        fix = "train longer, lower lr, or let a trial run pass with health_margin=0"
        raise HealthError(text, field="health", fix=fix)
    return ignoring
