"""Masked Temporal-Frequency Modelling: hide Fourier components, hide patches, reconstruct (arXiv:2602.23410).

Shape suffixes: B windows, C channels, T samples, P patches per channel, N = C * P tokens (channel-major), S samples per
patch, V visible tokens, H hidden tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..model import log_spectrum
from ..model.connectivity import connectivity_profile
from ..model.tokens import Tokens, check, take_tokens, unpatchify, valid_samples
from ..signals import SignalBatch
from .config import MaskConfig, ObjectiveConfig
from .losses import log_spectrum_loss, profile_loss, raw_component_loss, waveform_loss, window_spectrum
from .masks import Random, WindowRandom, atlas_places, hide_patches, regions, token_indices, without_components


@dataclass(frozen=True, eq=False)
class Plan:
    """One masked batch, before the model sees it.

    `batch` holds the clean signal of the channels at hand, `seen_BNS` what the encoder may look at (components
    removed). `visible_BV` and `hidden_BH` number the tokens on either side, with masks that are False where a row is
    filled up to the longest. Of the hidden tokens, `target_BHS` holds the clean samples, `sample_mask_BHS` is True for
    samples that are not padding. `place_BC` is the place of each channel among all `n_places_B` that the window has, in
    the order of the atlas.
    """

    batch: SignalBatch
    seen_BNS: Tensor
    visible_BV: Tensor
    visible_mask_BV: Tensor
    hidden_BH: Tensor
    hidden_mask_BH: Tensor
    target_BHS: Tensor
    sample_mask_BHS: Tensor
    place_BC: Tensor
    n_places_B: Tensor

    @property
    def full_BH(self) -> Tensor:
        """Hidden patches without padding, the only ones that have a spectrum."""
        return self.hidden_mask_BH & self.sample_mask_BHS.all(-1)

    @property
    def n_hidden(self) -> int:
        """Number of hidden patches: the element count that losses are normalised by."""
        return int(self.hidden_mask_BH.sum())

    def split(self, count: int) -> list[Plan]:
        """The same windows in at most `count` plans of about equal size, in order."""
        windows = torch.arange(len(self.batch), device=self.seen_BNS.device)
        return [self._take(some) for some in windows.tensor_split(min(count, len(windows)))] if count > 1 else [self]

    def _take(self, windows: Tensor) -> Plan:
        parts: list[Any] = []
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
    second_order: Tensor
    n_hidden: int

    def __add__(self, other: LossSums) -> LossSums:
        return LossSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def detach(self) -> LossSums:
        """The numbers without their graph."""
        return LossSums(self.time.detach(), self.frequency.detach(), self.second_order.detach(), self.n_hidden)


class MTFM:
    """The pretraining objective around a model: `plan` hides, `sums` reconstructs and compares.

    Parameters
    ----------
    model : BrainOF
        Must have the outputs that the objective needs.
    mask, objective : MaskConfig, ObjectiveConfig

    Raises
    ------
    ConfigError
        The model has no such output.
    """

    def __init__(self, model: Any, mask: MaskConfig, objective: ObjectiveConfig) -> None:
        needs = {"waveform": True, "log_spectrum": objective.frequency == "log_spectrum"}
        needs["connectivity"] = objective.second_order > 0
        for name in needs:
            outputs = model.config.decoder.outputs
            if needs[name] and name not in outputs:
                raise ConfigError(
                    f"the objective needs the output {name!r}, but the model has only {list(outputs)}",
                    field="model.decoder.outputs",
                    fix="add it, or change the objective",
                )
        self.model, self.mask, self.objective = model, mask, objective

    def plan(
        self,
        batch: SignalBatch,
        rng: np.random.Generator,
        *,
        windows: WindowRandom | None = None,
        progress: float = 1.0,
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
            What the batch shares: its subset of channels; and all else without `windows`.
        windows : WindowRandom, optional
            A stream for each window, which makes its mask independent of the windows it is batched with.
        progress : float
            Share of the steps done, for `mask.changes`.
        fourier : bool
            Whether components are removed at all (the curriculum switches them on later).
        max_tokens, min_channels
            See PretrainConfig.

        Raises
        ------
        RecordingError
            A batch that the model cannot read, or a window with nothing to hide or nothing to show.
        """
        S = self.model.config.patch
        if not check(batch, S):  # bad channels and padding may hold anything, which no transform may spread
            valid_BCT = unpatchify(valid_samples(batch, S), batch.signal_BCT.shape[1])
            batch = replace(batch, signal_BCT=torch.where(valid_BCT, batch.signal_BCT, 0))
        mask = self.mask.at(progress, batch.modality)
        draw: Random = rng if windows is None else windows
        seen_BCT = without_components(batch, mask, draw) if fourier else batch.signal_BCT
        place_BC, n_places = atlas_places(batch), batch.signal_BCT.shape[1]
        chosen = _some_channels(batch, S, rng, max_tokens, min_channels)
        if len(chosen) < n_places:
            index = torch.from_numpy(chosen).to(batch.signal_BCT.device)
            batch, seen_BCT, place_BC = batch.take_channels(index), seen_BCT[:, index], place_BC[:, index]
        B, C, T = batch.signal_BCT.shape
        P = T // S
        n_times_B = batch.n_times_B.cpu().numpy()
        sample_BT = np.arange(T)[None] < n_times_B[:, None]
        channel_BC = batch.channel_mask_BC.cpu().numpy()
        valid_BCP = channel_BC[:, :, None] & sample_BT.reshape(B, 1, P, S).any(-1)
        region_BC = regions(batch, mask.region_size, draw) if mask.unit == "region" else None
        hidden_BN = hide_patches(valid_BCP, mask.ratio, mask.unit, draw, region_BC).reshape(B, C * P)
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
            place_BC=place_BC,
            n_places_B=torch.full((B,), n_places, device=device),
        )

    def encode(self, plan: Plan) -> tuple[Tensor, Any]:
        """Latents (B, L, D) of the visible tokens, and the tokens (clean patches with identities)."""
        tokens = self.model.tokens(plan.batch)
        seen = tokens.with_patches(plan.seen_BNS)
        return self.model.encode(seen, plan.visible_BV, plan.visible_mask_BV), tokens

    def decode(
        self, plan: Plan, latents_BLD: Tensor, tokens: Any, step_windows: int | None = None
    ) -> dict[str, Tensor]:
        """Outputs at the hidden tokens, (B, H, ...): nothing else is asked for, so nothing else is computed."""
        shape = (tokens.n_channels, tokens.n_patches)
        windows = step_windows or len(plan.batch)
        alpha = 0.0 if self.objective.frequency == "none" else self.objective.alpha
        weights = {"waveform": 1 - alpha, "log_spectrum": alpha, "connectivity": self.objective.second_order}
        fractions = {name: weight / windows for name, weight in weights.items()}
        return self.model.decode(latents_BLD, tokens.identity_BND, plan.hidden_BH, shape, fractions)

    def sums(self, plan: Plan, step_windows: int | None = None) -> LossSums:
        """Reconstruct the hidden patches and compare them with the clean signal.

        `step_windows` are those of the whole optimizer step, by default the plan's own.
        """
        latents_BLD, tokens = self.encode(plan)
        outputs = self.decode(plan, latents_BLD, tokens, step_windows)
        time = waveform_loss(outputs["waveform"], plan.target_BHS, plan.sample_mask_BHS)
        if self.objective.frequency == "log_spectrum":
            frequency = log_spectrum_loss(outputs["log_spectrum"], self.spectra(plan), plan.full_BH)
        elif self.objective.frequency == "raw":
            difference_BHS = (outputs["waveform"].float() - plan.target_BHS) * plan.sample_mask_BHS
            difference_BNS = torch.zeros_like(plan.seen_BNS, dtype=torch.float32)
            difference_BNS = difference_BNS.scatter_add(
                1, plan.hidden_BH[..., None].expand_as(difference_BHS), difference_BHS
            )
            across = plan.batch.modality == "fmri"
            frequency = raw_component_loss(
                difference_BNS.reshape(plan.batch.signal_BCT.shape),
                plan.hidden_mask_BH.sum(1),
                n_times_B=plan.batch.n_times_B,
                channel_mask_BC=plan.batch.channel_mask_BC,
                place_BC=plan.place_BC if across else None,
                n_places=int(plan.n_places_B[0]),
            )
        else:
            frequency = time.new_zeros(())
        connectivity = time.new_zeros(())
        if self.objective.second_order:
            target_BHD = take_tokens(self.profiles(tokens), plan.hidden_BH)
            connectivity = profile_loss(outputs["connectivity"], target_BHD, plan.hidden_mask_BH)
        return LossSums(time, frequency, connectivity, plan.n_hidden)

    def spectra(self, plan: Plan) -> Tensor:
        """Log spectra (B, H, F) that the output `log_spectrum` is compared with."""
        if self.objective.spectrum_of == "patch":
            return log_spectrum(plan.target_BHS)
        patch = self.model.config.patch
        of_channel_BCF = window_spectrum(plan.batch.signal_BCT, plan.batch.n_times_B, patch)
        channel_BH = plan.hidden_BH // (plan.batch.signal_BCT.shape[2] // patch)
        return of_channel_BCF.gather(1, channel_BH[..., None].expand(-1, -1, of_channel_BCF.shape[2]))

    def profiles(self, tokens: Tokens) -> Tensor:
        """Correlation profiles (B, N, D) of all tokens in the clean window, of unit mean square."""
        profile_BND = connectivity_profile(
            tokens.patch_BNS, tokens.identity_BND.detach(), tokens.mask_BN, tokens.n_channels, tokens.valid_BNS
        )
        return profile_BND / profile_BND.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)

    def total(self, sums: LossSums, progress: float = 1.0) -> Tensor:
        """The loss of a batch, summed over its hidden patches; see `combine`."""
        return self.combine(sums.time, sums.frequency, progress, sums.second_order)

    def combine(self, time: Any, frequency: Any, progress: float = 1.0, second_order: Any = 0.0) -> Any:
        """(1 - alpha) L_time + alpha L_freq + second_order L_connectivity, of tensors or numbers.

        Before the share `frequency_start` of the steps (`progress`) it is L_time alone.
        """
        early = self.objective.frequency == "none" or progress < self.objective.frequency_start
        alpha = 0.0 if early else self.objective.alpha
        return (1 - alpha) * time + alpha * frequency + self.objective.second_order * second_order


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
