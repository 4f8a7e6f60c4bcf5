"""Masked Temporal-Frequency Modelling: hide Fourier components, hide patches, reconstruct (arXiv:2602.23410).

Shape suffixes: B windows, C channels, T samples, P patches per channel, N = C * P tokens (channel-major), S samples per
patch, V visible tokens, H hidden tokens.
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
from .masks import hide_patches, remove_components, token_indices


@dataclass(frozen=True, eq=False)
class Plan:
    """One masked batch, before the model sees it.

    `batch` holds the clean signal of the channels at hand, `seen_BNS` what the encoder may look at (components
    removed). `visible_BV` and `hidden_BH` number the tokens on either side, with masks that are False where a row is
    filled up to the longest. Of the hidden tokens, `target_BHS` holds the clean samples, `sample_mask_BHS` is True for
    samples that are not padding.
    """

    batch: SignalBatch
    seen_BNS: Tensor
    visible_BV: Tensor
    visible_mask_BV: Tensor
    hidden_BH: Tensor
    hidden_mask_BH: Tensor
    target_BHS: Tensor
    sample_mask_BHS: Tensor

    @property
    def full_BH(self) -> Tensor:
        """Hidden patches without padding, the only ones that have a spectrum."""
        return self.hidden_mask_BH & self.sample_mask_BHS.all(-1)

    @property
    def n_hidden(self) -> int:
        """Number of hidden patches: the element count that losses are normalised by."""
        return int(self.hidden_mask_BH.sum())

    def to(self, device: Any) -> Plan:
        return Plan(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def split(self, count: int) -> list[Plan]:
        """The same windows in at most `count` plans of about equal size, in order."""
        windows = torch.arange(len(self.batch), device=self.seen_BNS.device)
        return [self._take(some) for some in windows.tensor_split(min(count, len(windows)))] if count > 1 else [self]

    def _take(self, windows: Tensor) -> Plan:
        parts = []
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, SignalBatch):
                parts.append(value.take_windows(windows))
            else:  # a leading 1 is shared by the windows
                parts.append(value[windows] if len(value) == len(self.batch) else value)
        return Plan(*parts)


@dataclass(frozen=True, eq=False)
class LossSums:
    """Losses summed over hidden patches, so that batches add up before they are normalised."""

    time: Tensor
    frequency: Tensor
    n_hidden: int

    def __add__(self, other: LossSums) -> LossSums:
        return LossSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def detach(self) -> LossSums:
        """The numbers without their graph."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        return LossSums(*(x.detach() if isinstance(x, Tensor) else x for x in values))


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
        index_BV, mask_BV = token_indices(valid_BCP.reshape(B, C * P) & ~hidden_BN)
        index_BH, mask_BH = token_indices(hidden_BN)
        samples_BNS = np.broadcast_to(sample_BT.reshape(B, 1, P, S), (B, C, P, S)).reshape(B, C * P, S)
        samples_BHS = np.take_along_axis(samples_BNS, index_BH[..., None], 1) & mask_BH[..., None]
        device = batch.signal_BCT.device

        def tensor(values: Any) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        hidden_BH = tensor(index_BH)
        clean_BNS = batch.signal_BCT.reshape(B, C * P, S)
        return Plan(
            batch=batch,
            seen_BNS=seen_BCT.reshape(B, C * P, S),
            visible_BV=tensor(index_BV),
            visible_mask_BV=tensor(mask_BV),
            hidden_BH=hidden_BH,
            hidden_mask_BH=tensor(mask_BH),
            target_BHS=clean_BNS.gather(1, hidden_BH[..., None].expand(-1, -1, S)).float(),
            sample_mask_BHS=tensor(samples_BHS),
        )

    def encode(self, plan: Plan) -> tuple[Tensor, Any]:
        """Latents (B, L, D) of the visible tokens, and the tokens (clean patches with identities)."""
        tokens = self.model.tokens(plan.batch)
        seen = tokens.with_patches(plan.seen_BNS)
        return self.model.encode(seen, plan.visible_BV, plan.visible_mask_BV), tokens

    def decode(self, plan: Plan, latents_BLD: Tensor, tokens: Any) -> dict[str, Tensor]:
        """Outputs at the hidden tokens, (B, H, ...): nothing else is asked for, so nothing else is computed."""
        return self.model.decode(latents_BLD, tokens.identity_BND, plan.hidden_BH)

    def sums(self, plan: Plan) -> LossSums:
        """Reconstruct the hidden patches and compare them with the clean signal."""
        latents_BLD, tokens = self.encode(plan)
        outputs = self.decode(plan, latents_BLD, tokens)
        time = waveform_loss(outputs["waveform"], plan.target_BHS, plan.sample_mask_BHS)
        if self.objective.frequency == "log_spectrum":
            frequency = log_spectrum_loss(outputs["log_spectrum"], plan.target_BHS, plan.full_BH)
        elif self.objective.frequency == "raw":
            difference_BHS = (outputs["waveform"].float() - plan.target_BHS) * plan.sample_mask_BHS
            difference_BNS = torch.zeros_like(plan.seen_BNS, dtype=torch.float32)
            difference_BNS = difference_BNS.scatter_add(
                1, plan.hidden_BH[..., None].expand_as(difference_BHS), difference_BHS
            )
            difference_BCT = difference_BNS.reshape(plan.batch.signal_BCT.shape)
            frequency = raw_component_loss(difference_BCT, plan.n_hidden, along_channels=plan.batch.modality == "fmri")
        else:
            frequency = time.new_zeros(())
        return LossSums(time, frequency, plan.n_hidden)

    def combine(self, time: Any, frequency: Any, progress: float = 1.0) -> Any:
        """(1 - alpha) L_time + alpha L_freq, of tensors or numbers.

        Before the share `frequency_start` of the steps (`progress`) it is L_time alone.
        """
        early = self.objective.frequency == "none" or progress < self.objective.frequency_start
        alpha = 0.0 if early else self.objective.alpha
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
