"""Masked Temporal-Frequency Modelling: hide Fourier components, hide patches, reconstruct (arXiv:2602.23410).

Shape suffixes: B windows, C channels, T samples, P patches per channel, N = C * P tokens (channel-major), S samples per
patch, V visible tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..signals import SignalBatch
from .config import MaskConfig, ObjectiveConfig
from .losses import log_spectrum_loss, raw_component_loss, waveform_loss
from .masks import hide_patches, remove_components, visible_indices


@dataclass(frozen=True, eq=False)
class Plan:
    """One masked batch, before the model sees it.

    `batch` holds the clean signal of the channels at hand, `seen_BNS` what the encoder may look at (components
    removed), `visible_BV` / `visible_mask_BV` the numbers of the visible tokens, `hidden_BN` what the loss is over,
    `sample_mask_BNS` the valid samples and `full_BN` the patches without padding.
    """

    batch: SignalBatch
    seen_BNS: Tensor
    visible_BV: Tensor
    visible_mask_BV: Tensor
    hidden_BN: Tensor
    sample_mask_BNS: Tensor
    full_BN: Tensor

    @property
    def n_hidden(self) -> int:
        """Number of hidden patches: the element count that losses are normalised by."""
        return int(self.hidden_BN.sum())

    def to(self, device: Any) -> Plan:
        return Plan(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class LossSums:
    """Losses summed over hidden patches, so that batches add up before they are normalised."""

    time: Tensor
    frequency: Tensor
    n_hidden: int


class MTFM:
    """The pretraining objective around a model: `plan` hides, `sums` reconstructs and compares.

    Parameters
    ----------
    model : BrainOF
        Must have the output that the objective needs (`waveform`, and `log_spectrum` for the objective of that name).
    mask, objective : MaskConfig, ObjectiveConfig
    """

    def __init__(self, model: Any, mask: MaskConfig, objective: ObjectiveConfig) -> None:
        self.model, self.mask, self.objective = model, mask, objective

    def plan(
        self,
        batch: SignalBatch,
        rng: np.random.Generator,
        *,
        fourier: bool = True,
        max_tokens: int | None = None,
        min_channels: float = 1.0,
    ) -> Plan:
        """Hide components and patches of a batch.

        Components are removed before channels are left out, because fMRI's transform runs over all regions in order.

        Parameters
        ----------
        batch : SignalBatch
            One modality.
        rng : numpy Generator
            All randomness.
        fourier : bool
            Whether components are removed at all (the curriculum switches them on later).
        max_tokens, min_channels
            See PretrainConfig.
        """
        S = self.model.config.patch
        seen_BCT = self._without_components(batch, rng) if fourier else batch.signal_BCT
        chosen = _some_channels(batch, S, rng, max_tokens, min_channels)
        if len(chosen) < batch.signal_BCT.shape[1]:
            index = torch.from_numpy(chosen).to(batch.signal_BCT.device)
            batch, seen_BCT = batch.take_channels(index), seen_BCT[:, index]
        B, C, T = batch.signal_BCT.shape
        P = T // S
        n_times_B = batch.n_times_B.cpu().numpy()
        sample_BT = np.arange(T)[None] < n_times_B[:, None]
        channel_BC = batch.channel_mask_BC.cpu().numpy()
        valid_BCP = channel_BC[:, :, None] & sample_BT.reshape(B, 1, P, S).any(-1)
        hidden_BN = hide_patches(valid_BCP, self.mask.ratio, self.mask.unit, rng).reshape(B, C * P)
        index_BV, mask_BV = visible_indices(valid_BCP.reshape(B, C * P) & ~hidden_BN)
        samples_BNS = np.broadcast_to(sample_BT.reshape(B, 1, P, S), (B, C, P, S)).reshape(B, C * P, S)
        device = batch.signal_BCT.device

        def tensor(values: Any) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        return Plan(
            batch=batch,
            seen_BNS=seen_BCT.reshape(B, C * P, S),
            visible_BV=tensor(index_BV),
            visible_mask_BV=tensor(mask_BV),
            hidden_BN=tensor(hidden_BN),
            sample_mask_BNS=tensor(samples_BNS),
            full_BN=tensor(samples_BNS.all(axis=-1)),
        )

    def encode(self, plan: Plan) -> tuple[Tensor, Any]:
        """Latents (B, L, D) of the visible tokens, and the tokens (clean patches with identities)."""
        tokens = self.model.tokens(plan.batch)
        seen = tokens.with_patches(plan.seen_BNS)
        return self.model.encode(seen, plan.visible_BV, plan.visible_mask_BV), tokens

    def sums(self, plan: Plan) -> LossSums:
        """Reconstruct the hidden patches and compare them with the clean signal."""
        latents_BLD, tokens = self.encode(plan)
        outputs = self.model.decode(latents_BLD, tokens.identity_BND)
        target_BNS = tokens.patch_BNS
        time = waveform_loss(outputs["waveform"], target_BNS, plan.hidden_BN, plan.sample_mask_BNS)
        if self.objective.frequency == "log_spectrum":
            frequency = log_spectrum_loss(outputs["log_spectrum"], target_BNS, plan.hidden_BN, plan.full_BN)
        elif self.objective.frequency == "raw":
            C = plan.batch.signal_BCT.shape[1]
            fmri = plan.batch.modality == "fmri"
            frequency = raw_component_loss(outputs["waveform"], target_BNS, plan.hidden_BN, C, along_channels=fmri)
        else:
            frequency = time.new_zeros(())
        return LossSums(time, frequency, plan.n_hidden)

    def combine(self, time: Tensor, frequency: Tensor) -> Tensor:
        """(1 - alpha) L_time + alpha L_freq."""
        alpha = 0.0 if self.objective.frequency == "none" else self.objective.alpha
        return (1 - alpha) * time + alpha * frequency

    def _without_components(self, batch: SignalBatch, rng: np.random.Generator) -> Tensor:
        options: dict[str, Any] = {"ratio": self.mask.fourier_ratio, "bands": self.mask.fourier_bands, "rng": rng}
        if batch.modality == "fmri":
            return remove_components(batch.signal_BCT, dim=1, **options)
        seconds = batch.signal_BCT.shape[2] * float(batch.interval_B[0])
        n_used = int(self.mask.fourier_max_hz * seconds) + 1
        return remove_components(batch.signal_BCT, dim=2, n_used=n_used, **options)


def _some_channels(
    batch: SignalBatch, patch: int, rng: np.random.Generator, max_tokens: int | None, min_channels: float
) -> np.ndarray:
    """Sorted numbers of the channels a batch keeps: a random subset within the token budget."""
    C = batch.signal_BCT.shape[1]
    P = batch.signal_BCT.shape[2] // patch
    most = C if max_tokens is None else min(C, max(2, max_tokens // P))
    least = max(min(2, C), round(min_channels * most))
    n_kept = int(rng.integers(least, most + 1))
    if n_kept >= C:
        return np.arange(C)
    # channels that are good in every window first: a subset of bad channels would leave a window without signal
    good = batch.channel_mask_BC.all(dim=0).cpu().numpy()
    order = rng.permutation(C)
    order = np.concatenate([order[good[order]], order[~good[order]]])
    return np.sort(order[:n_kept])
