"""Masked Temporal-Frequency Modelling (arXiv:2602.23410): the module that owns the model and its losses.

A batch comes masked (`masking.py`); `forward` encodes what is visible, decodes what is to be predicted and compares.

Shape suffixes: B windows, N tokens (channel-major), S samples per patch, H predicted tokens, L latents, F frequencies
per patch, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError
from ..model import log_spectrum
from ..model.connectivity import connectivity_profile
from ..model.tokens import Tokens, patchify, take_tokens
from .config import ObjectiveConfig
from .losses import connectivity_loss, log_spectrum_loss, raw_component_loss, waveform_loss, window_spectrum
from .masking import MaskedBatch

#: Terms of the loss, as they are logged (`loss_time`, ...)
TERMS = ("time", "frequency", "connectivity")


class Objective(nn.Module):
    """The pretraining objective around a model.

    Raises
    ------
    ConfigError
        The model lacks an output that the objective compares.
    """

    def __init__(self, model: Any, config: ObjectiveConfig) -> None:
        super().__init__()
        asked = config.frequency == "log_spectrum", config.connectivity > 0
        outputs = list(model.config.decoder.outputs)
        for name, needed in zip(FIXES, (True, *asked), strict=True):
            if needed and name not in outputs:
                raise ConfigError(
                    f"the objective needs the output {name!r}, but the model has only {outputs}",
                    field="model.decoder.outputs",
                    fix=FIXES[name],
                )
        self.model, self.config = model, config

    def forward(self, masked: MaskedBatch, counts: Mapping[str, float], progress: float = 1.0) -> dict[str, Tensor]:
        """Losses: "loss", the part of this batch in the loss of the step, and the terms, summed over predicted patches.

        `counts` are `patches` and `windows` of the whole optimizer step: its batches add up, however they are cut.
        `progress` is the fraction of the steps done, for `frequency_start`.
        """
        tokens = self.model.tokens(masked.batch)
        latents_BLD = self.encode(masked, tokens)
        outputs = self.decode(masked, tokens, latents_BLD, self.gradient_fractions(counts["windows"], progress))
        losses = self.compare(masked, tokens, outputs)
        return {"loss": self.combine(losses, progress) / counts["patches"], **losses}

    def encode(self, masked: MaskedBatch, tokens: Tokens, start_BLD: Tensor | None = None) -> Tensor:
        """Latents (B, L, D) of the visible tokens, from the latent vectors on or from those of another modality."""
        if masked.seen_BCT is not None:
            tokens = tokens.with_patches(patchify(masked.seen_BCT, tokens.patch_BNS.shape[-1]))
        return self.model.encode(tokens, masked.visible_BV, masked.visible_mask_BV, start_BLD=start_BLD)

    def decode(
        self,
        masked: MaskedBatch,
        tokens: Tokens,
        latents_BLD: Tensor,
        gradient_fractions: Mapping[str, float] | None = None,
    ) -> dict[str, Tensor]:
        """Outputs at the predicted tokens, (B, H, ...): nothing else is asked for, so nothing else is computed."""
        shape = (tokens.n_channels, tokens.n_patches)
        return self.model.decode(latents_BLD, tokens.identity_BND, masked.predicted_BH, shape, gradient_fractions)

    def compare(self, masked: MaskedBatch, tokens: Tokens, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms, each summed over predicted patches."""
        target_BHS, sample_mask_BHS = clean_patches(masked, tokens)
        time = waveform_loss(outputs["waveform"], target_BHS, sample_mask_BHS)
        losses = {"time": time, "frequency": time.new_zeros(()), "connectivity": time.new_zeros(())}
        if self.config.frequency == "log_spectrum":
            full_BH = sample_mask_BHS.all(-1)  # a patch that ends in padding has no spectrum
            target_BHF = self.spectra(masked, target_BHS)
            losses["frequency"] = log_spectrum_loss(outputs["log_spectrum"], target_BHF, full_BH)
        elif self.config.frequency == "raw":
            losses["frequency"] = self._raw_components(masked, (outputs["waveform"] - target_BHS) * sample_mask_BHS)
        if self.config.connectivity:
            target_BHD = take_tokens(connectivity_targets(tokens), masked.predicted_BH)
            mask_BH = masked.predicted_mask_BH
            losses["connectivity"] = connectivity_loss(outputs["connectivity"], target_BHD, mask_BH)
        return losses

    def weights(self, progress: float = 1.0) -> dict[str, float]:
        """Weight of each term after a fraction of the steps."""
        early = self.config.frequency == "none" or progress < self.config.frequency_start
        alpha = 0.0 if early else self.config.alpha
        return {"time": 1 - alpha, "frequency": alpha, "connectivity": self.config.connectivity}

    def gradient_fractions(self, windows: float, progress: float = 1.0) -> dict[str, float]:
        """What normalised gradients of each output are scaled by: weight of its terms / windows of the step.

        Without it the weights would have no effect where a model normalises gradients, and the gradient would grow with
        the batch.
        """
        weights = self.weights(progress)
        of_waveform = weights["time"] + (weights["frequency"] if self.config.frequency == "raw" else 0.0)
        of = {"waveform": of_waveform, "log_spectrum": weights["frequency"], "connectivity": weights["connectivity"]}
        return {name: weight / windows for name, weight in of.items()}

    def combine(self, losses: Mapping[str, Any], progress: float = 1.0) -> Any:
        """(1 - alpha) L_time + alpha L_freq + connectivity L_connectivity, of tensors or numbers."""
        weights = self.weights(progress)
        return sum(weights[name] * losses[name] for name in TERMS)

    def spectra(self, masked: MaskedBatch, target_BHS: Tensor) -> Tensor:
        """Log spectra (B, H, F) that the output `log_spectrum` is compared with."""
        if self.config.spectrum_of == "patch":
            return log_spectrum(target_BHS)
        patch = target_BHS.shape[-1]
        channel_BCF = window_spectrum(masked.batch.signal_BCT, masked.batch.n_times_B, patch)
        channel_BH = masked.predicted_BH // (masked.batch.signal_BCT.shape[2] // patch)
        return channel_BCF.gather(1, channel_BH[..., None].expand(-1, -1, channel_BCF.shape[2]))

    def _raw_components(self, masked: MaskedBatch, difference_BHS: Tensor) -> Tensor:
        """The published L_freq of (reconstruction - signal): along time, or for fMRI across the ordered regions."""
        batch = masked.batch
        B, C, T = batch.signal_BCT.shape
        S = difference_BHS.shape[-1]
        difference_BNS = difference_BHS.new_zeros(B, C * T // S, S)
        index_BHS = masked.predicted_BH[..., None].expand_as(difference_BHS)
        difference_BNS = difference_BNS.scatter_add(1, index_BHS, difference_BHS)
        return raw_component_loss(
            difference_BNS.reshape(B, C, T),
            masked.predicted_mask_BH.sum(1),
            n_times_B=batch.n_times_B,
            channel_mask_BC=batch.channel_mask_BC,
            place_BC=masked.place_BC if batch.modality == "fmri" else None,
            n_places=masked.n_places,
        )


FIXES = {
    "waveform": "add it to model.decoder.outputs",
    "log_spectrum": "add it to model.decoder.outputs, or set objective.frequency=raw or none",
    "connectivity": "add it to model.decoder.outputs, set objective.connectivity=0, or use the recipe `published`",
}


def clean_patches(masked: MaskedBatch, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Clean samples (B, H, S) of the predicted patches, and where they are signal: no padding, no fillers."""
    target_BHS = take_tokens(tokens.patch_BNS, masked.predicted_BH)
    mask_BH1 = masked.predicted_mask_BH[..., None]
    if tokens.valid_BNS is None:
        return target_BHS, mask_BH1.expand_as(target_BHS)
    return target_BHS, take_tokens(tokens.valid_BNS, masked.predicted_BH) & mask_BH1


def connectivity_targets(tokens: Tokens) -> Tensor:
    """Correlation profiles (B, N, D) of all tokens in the clean window, of unit mean square."""
    profile_BND = connectivity_profile(
        tokens.patch_BNS, tokens.identity_BND.detach(), tokens.mask_BN, tokens.n_channels, tokens.valid_BNS
    )
    return profile_BND / profile_BND.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
