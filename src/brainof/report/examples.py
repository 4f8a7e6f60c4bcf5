"""Reconstructions of a model on a batch, as examples to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .results import Example

if TYPE_CHECKING:
    from ..signals import SignalBatch


@torch.no_grad()
def reconstruct(
    objective: Any, batch: SignalBatch, rng: np.random.Generator, *, title: str = "", n_examples: int = 1, **plan: Any
) -> list[Example]:
    """Hide patches of the first windows of a batch and let the model put them back.

    Parameters
    ----------
    objective : MTFM
        Model and masks; its model must have the output `waveform`.
    batch : SignalBatch
        Of one modality and rate.
    rng : Generator
        Chooses the patches.
    title : str
        Dataset name by default.
    n_examples : int
        Windows to return.
    **plan
        Further arguments of `MTFM.plan`, such as max_tokens. Fourier components are left in.

    Returns
    -------
    list of Example
    """
    model = objective.model
    training = model.training
    model.eval()
    try:
        masked = objective.plan(batch, rng, fourier=False, **plan)
        latents_BLD, tokens = objective.encode(masked)
        made_BHS = objective.decode(masked, latents_BLD, tokens)["waveform"].float().cpu().numpy()
    finally:
        model.train(training)
    shown = masked.batch
    true_BCT = shown.signal_BCT.float().cpu().numpy()
    B, C, T = true_BCT.shape
    patch = made_BHS.shape[-1]
    hidden_BN = np.zeros((B, C * T // patch), bool)
    made_BNS = np.zeros((B, C * T // patch, patch), np.float32)
    for row in range(B):
        chosen = masked.hidden_mask_BH[row].cpu().numpy()
        numbers = masked.hidden_BH[row].cpu().numpy()[chosen]
        hidden_BN[row, numbers], made_BNS[row, numbers] = True, made_BHS[row, chosen]
    n_times_B = shown.n_times_B.cpu().numpy()
    examples = []
    for row in range(min(n_examples, B)):
        stop = int(n_times_B[row])
        examples.append(
            Example(
                title=title or (shown.datasets[row] if shown.datasets else shown.modality),
                modality=shown.modality,
                true_CT=true_BCT[row, :, :stop],
                reconstructed_CT=made_BNS[row].reshape(C, T)[:, :stop],
                hidden_CT=np.repeat(hidden_BN[row].reshape(C, T // patch), patch, axis=1)[:, :stop],
                sfreq=float(1 / shown.interval_B[row]),
                names=[str(channel + 1) for channel in range(C)],
            )
        )
    return examples
