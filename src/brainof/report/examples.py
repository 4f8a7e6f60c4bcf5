"""Reconstructions of a model on a batch, as examples to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..utils.modules import evaluating
from .results import Example

if TYPE_CHECKING:
    from ..pretraining.masking import MaskedBatch
    from ..pretraining.objective import Objective


def reconstruct(objective: Objective, masked: MaskedBatch, *, title: str = "", n_examples: int = 1) -> list[Example]:
    """Let the model put back what is hidden of the first windows of a batch.

    Parameters
    ----------
    objective : Objective
        Its model must have the output `waveform`.
    masked : MaskedBatch
        From `Masking.plan`; of one modality and sampling rate.
    title : str
        Dataset name by default.
    n_examples : int
        Windows to return.

    Returns
    -------
    list of Example
    """
    with evaluating(objective):
        tokens = objective.model.tokens(masked.batch)
        outputs = objective.decode(masked, tokens, objective.encode(masked, tokens))
        made_BHS = outputs["waveform"].float().cpu().numpy()
    shown = masked.batch
    true_BCT = shown.signal_BCT.float().cpu().numpy()
    B, C, T = true_BCT.shape
    patch = made_BHS.shape[-1]
    hidden_BN = np.zeros((B, C * T // patch), bool)
    made_BNS = np.zeros((B, C * T // patch, patch), np.float32)
    for row in range(B):
        chosen = masked.predicted_mask_BH[row].cpu().numpy()
        numbers = masked.predicted_BH[row].cpu().numpy()[chosen]
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
