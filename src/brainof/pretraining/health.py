"""Does the decoder listen to the latents? Explained variance with real and with shuffled latents, per dataset.

A falling loss does not tell: Smooth L1 of about 0.37 is what a model reaches that ignores its latents and predicts
zeros. What tells is the gap between the explained variance with real latents and with latents of other windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import HealthError
from ..model.tokens import take_tokens
from ..signals import SignalBatch
from .mtfm import MTFM


def explained_variance(predicted: Tensor, target: Tensor, weight: Tensor, centre: Tensor | float = 0.0) -> float:
    """1 - squared error / squared deviation from `centre`, over weighted elements; NaN where nothing varies."""
    error = ((predicted - target) ** 2 * weight).sum()
    variance = ((target - centre) ** 2 * weight).sum()
    return float(1 - error / variance) if variance > 0 else float("nan")


@torch.no_grad()
def check_batch(objective: MTFM, batch: SignalBatch, rng: np.random.Generator, max_tokens: int) -> dict[str, Any]:
    """Health of one batch of one dataset (at least two windows), all in evaluation mode and without Fourier masks.

    Returns
    -------
    dict
        `r2`, `r2_shuffled`: explained variance of hidden samples against zero; `r2_log_spectrum`,
        `r2_log_spectrum_shuffled`: of hidden patches' log spectra against their mean over the batch (where the model
        predicts them); `r2_second_order`, `r2_second_order_shuffled`: of the correlation profiles of hidden patches
        against the mean of each place over the batch (where the model predicts them); `rank`: effective rank
        (exponential of the entropy of the squared singular values) of the windows' mean latents; `latent_cosine`: mean
        cosine between latents of a window.
    """
    model = objective.model
    training = model.training
    model.eval()
    try:
        plan = objective.plan(batch, rng, fourier=False, max_tokens=max_tokens)
        latents_BLD, tokens = objective.encode(plan)
        real = objective.decode(plan, latents_BLD, tokens)
        shuffled = objective.decode(plan, latents_BLD.roll(1, 0), tokens)
    finally:
        model.train(training)
    weight_BHS = plan.sample_mask_BHS.float()
    row: dict[str, Any] = {}
    for name, outputs in (("r2", real), ("r2_shuffled", shuffled)):
        row[name] = explained_variance(outputs["waveform"].float(), plan.target_BHS, weight_BHS)
    if "log_spectrum" in real and plan.full_BH.any():
        target_BHF = objective.spectra(plan)
        weight_BHF = plan.full_BH[..., None].float()
        centre_F = (target_BHF * weight_BHF).sum((0, 1)) / weight_BHF.sum()
        for name, outputs in (("r2_log_spectrum", real), ("r2_log_spectrum_shuffled", shuffled)):
            row[name] = explained_variance(outputs["log_spectrum"].float(), target_BHF, weight_BHF, centre_F)
    if "connectivity" in real:
        profile_BND = objective.profiles(tokens)
        mean_BND = profile_BND.mean(0, keepdim=True).expand_as(profile_BND)
        target_BHD, centre_BHD = (take_tokens(each, plan.hidden_BH) for each in (profile_BND, mean_BND))
        weight_BH1 = plan.hidden_mask_BH[..., None].float()
        for name, outputs in (("r2_second_order", real), ("r2_second_order_shuffled", shuffled)):
            row[name] = explained_variance(outputs["connectivity"].float(), target_BHD, weight_BH1, centre_BHD)
    row["rank"], row["latent_cosine"] = _spread(latents_BLD.float())
    return row


def _spread(latents_BLD: Tensor) -> tuple[float, float]:
    mean_BD = latents_BLD.mean(1)
    energy = torch.linalg.svdvals(mean_BD - mean_BD.mean(0)) ** 2
    share = energy / energy.sum().clamp(min=1e-12)
    rank = float((-(share * (share + 1e-12).log()).sum()).exp())
    unit = torch.nn.functional.normalize(latents_BLD, dim=-1)
    L = latents_BLD.shape[1]
    cosine = float(((unit @ unit.mT).sum((1, 2)) - L).mean() / max(1, L * (L - 1)))
    return rank, cosine


def listening(row: dict[str, Any]) -> float:
    """The largest gain of real over shuffled latents among the outputs of one dataset."""
    outputs = [name for name in ("r2", "r2_log_spectrum", "r2_second_order") if (row.get(name) or 0.0) > 0]
    return max((row[name] - row[f"{name}_shuffled"] for name in outputs), default=0.0)


def deaf_datasets(rows: dict[str, dict[str, Any]], margin: float) -> list[str]:
    """Names of the datasets whose reconstruction does not use the latents."""
    return sorted(name for name, row in rows.items() if listening(row) < margin)


def require_listening(rows: dict[str, dict[str, Any]], margin: float) -> list[str]:
    """As `deaf_datasets`.

    Raises
    ------
    HealthError
        When it holds for all of them: such a run has learned nothing, however plausible its loss.
    """
    deaf = deaf_datasets(rows, margin)
    if rows and len(deaf) == len(rows):
        best = max(rows, key=lambda name: listening(rows[name]))
        raise HealthError(
            f"the decoder ignores the latents: real latents add {listening(rows[best]):.3f} explained variance "
            f"(at best, on {best}), shuffled ones do as well",
            field="health",
            fix="train longer, lower the learning rate, or check the addressing options of the model",
        )
    return deaf
