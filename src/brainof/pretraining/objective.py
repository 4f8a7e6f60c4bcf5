"""Masked Temporal-Frequency Modelling (arXiv:2602.23410): the module that owns the model and its losses.

A batch comes masked (`masking.py`); `forward` encodes what is visible, decodes what is to be predicted and adds the
terms (`terms/`) that compare it.

Shape suffixes: B windows, H predicted tokens, L latents, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, check_known, did_you_mean
from ..model.tokens import Tokens, patchify
from .config import ObjectiveConfig
from .masking import MaskedBatch
from .terms import TERMS, Comparison, Term
from .terms.comparison import clean_patches
from .views import View

#: Places that are asked how a window was distorted
QUERIES = 16
#: What else helps where the model lacks an output that the objective compares by itself
FIXES = {
    "waveform": "",
    "log_spectrum": ", or objective.frequency=raw or none",
    "connectivity": " and model.tokens.connectivity=true, set objective.connectivity=0, or use the recipe `published`",
}


class Objective(nn.Module):
    """The pretraining objective around a model: `terms`, by the name under which they are logged (`loss_time`, ...).

    A ConfigError for an unknown term, or a model that lacks an output that a term compares.
    """

    def __init__(self, model: Any, config: ObjectiveConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self._teacher: tuple[Any, ...] = ()  # no submodule: it is not trained, shared or saved with the model
        self.terms: dict[str, Term] = {"time": TERMS["waveform"]}
        if config.frequency != "none":
            self.terms["frequency"] = TERMS[config.frequency]
        if config.connectivity:
            self.terms["connectivity"] = TERMS["connectivity"]
        for name in config.terms:
            field = f"objective.terms.{name}"
            check_known(name, TERMS, ConfigError, "unknown term", field=field)
            if name in self.terms:
                raise ConfigError("the objective has this term already", field=field, fix=f"use objective.{name}")
            self.terms[name] = TERMS[name]
        self.asked = frozenset(term.look for term in self.terms.values() if term.look)  # second looks at each window
        outputs = list(model.config.decoder.outputs)
        for name, term in self.terms.items():
            if term.output is not None and term.output not in outputs:
                text = f"the objective needs the output {term.output!r}, but the model has only {outputs}"
                other = f", or leave objective.terms.{name} out" if name in config.terms else FIXES[term.output]
                fix = f"set model.decoder.outputs=[{', '.join([*outputs, term.output])}]{other}"
                raise ConfigError(text, field="model.decoder.outputs", fix=fix)
        readings = [output for output in model.config.readings if output]
        if config.aligned and config.aligned not in readings:
            other = "set model.decoder.kind=per_output, or leave it out"
            fix = did_you_mean(config.aligned, readings) if readings else other
            text = f"the model has no latents of {config.aligned!r} alone"
            raise ConfigError(text, field="objective.aligned", fix=fix)

    @property
    def teacher(self) -> Any:
        """The model whose latents are the target; None for the model itself."""
        return self._teacher[0] if self._teacher else None

    def unreached(self) -> list[nn.Parameter]:
        """Parameters of the outputs that no term compares: no loss has a gradient for them."""
        compared, found = {term.output for term in self.terms.values()}, []
        for outputs, decoder in zip(self.model.config.decoder.decoders, self.model.decoders, strict=True):
            parts = [head for name, head in zip(outputs, decoder.heads.linears, strict=True) if name not in compared]
            for part in parts if compared & {*outputs} else [decoder]:
                found += part.parameters()
        return found

    def learn_from(self, teacher: Any) -> None:
        """Take the latents of a teacher as target; a ConfigError where it has latents or patches of another layout."""
        (theirs, patch), (mine, own) = ((tuple(x.latents_LD.shape), x.config.patch) for x in (teacher, self.model))
        if (theirs, patch) != (mine, own):
            told, fix = "{} x {} latents of patches of {}".format, "give a teacher of the same preset"
            text = f"the teacher has {told(*theirs, patch)} samples, the model {told(*mine, own)}"
            raise ConfigError(text, field="objective.teacher", fix=fix)
        self._teacher = (teacher,)

    def forward(self, masked: MaskedBatch, counts: Mapping[str, float], progress: float = 1.0) -> dict[str, Tensor]:
        """Losses: "loss", the part of this batch in the loss of the step, and the terms, summed over predicted patches.

        With them go the "latents" (B, L, D) of what is visible, for the log.

        `counts` are `patches` and `windows` of the whole optimizer step: its batches add up, however they are cut.
        `progress` is the fraction of the steps done, for `frequency_start`.
        """
        tokens = self.model.tokens(masked.batch)
        latents_BLD, fractions = self.encode(masked, tokens), self.gradient_fractions(counts["windows"], progress)
        outputs = self.decode(masked, tokens, latents_BLD, fractions)
        looks = {name: self.look(name, view, fractions) for name, view in masked.views.items() if name in self.asked}
        losses = self.compare(masked, tokens, outputs, latents_BLD, self.whole(masked, tokens), looks)
        return {"loss": self.combine(losses, progress) / counts["patches"], **losses, "latents": latents_BLD}

    def encode(self, masked: MaskedBatch, tokens: Tokens, start_BLD: Tensor | None = None) -> Tensor:
        """Latents (B, L, D) of the visible tokens, from the latent vectors on or from those of another modality."""
        if masked.seen_BCT is not None:
            tokens = tokens.with_patches(patchify(masked.seen_BCT, tokens.patch_BNS.shape[-1]))
        return self.model.encode(tokens, masked.visible_BV, masked.visible_mask_BV, start_BLD=start_BLD)

    @torch.no_grad()
    def whole(self, masked: MaskedBatch, tokens: Tokens) -> Tensor | None:
        """Latents (B, L, D) of all tokens by the teacher, or by the model itself; None where no term compares them."""
        if not any(term.whole and (not term.look or term.look in masked.views) for term in self.terms.values()):
            return None
        if self.teacher is None:
            return self.model.encode(tokens)
        return self.teacher.encode(self.teacher.tokens(masked.batch))

    def look(self, name: str, view: View, gradient_fractions: Mapping[str, float]) -> Tensor:
        """Latents (B, L, D) of a second look, of a view by the teacher; logits (B, K) of how a window was distorted."""
        if name == "view" and self.teacher is not None:
            with torch.no_grad():
                return self.teacher.encode(self.teacher.tokens(view.batch))
        tokens = self.model.tokens(view.batch)
        latents_BLD = self.model.encode(tokens)
        if name != "distorted":
            return latents_BLD
        count = tokens.patch_BNS.shape[1]
        places_Q = torch.linspace(0, count - 1, min(count, QUERIES), device=latents_BLD.device).long()
        about = (places_Q.expand(len(latents_BLD), -1), (tokens.n_channels, tokens.n_patches), gradient_fractions)
        return self.model.decode(latents_BLD, tokens.identity_BND, *about)["pretext"].mean(1)

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

    def compare(
        self,
        masked: MaskedBatch,
        tokens: Tokens,
        outputs: Mapping[str, Tensor],
        latents_BLD: Tensor,
        whole_BLD: Tensor | None = None,
        looks: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The terms, each summed over predicted patches."""
        aligned = self.model.config.latents_of(self.config.aligned) if self.config.aligned else None
        about = latents_BLD, whole_BLD, self.config, *clean_patches(masked, tokens)
        compared = Comparison(masked, tokens, outputs, *about, looks or {}, aligned)
        return {name: term.loss(compared) for name, term in self.terms.items()}

    def weights(self, progress: float = 1.0) -> dict[str, float]:
        """Weight of each term after a fraction of the steps."""
        config = self.config
        early = config.frequency == "none" or progress < config.frequency_start
        alpha = 0.0 if early else config.alpha
        published = {"time": 1 - alpha, "frequency": alpha, "connectivity": config.connectivity}
        return {name: weight for name, weight in (published | config.terms).items() if name in self.terms}

    def gradient_fractions(self, windows: float, progress: float = 1.0) -> dict[str, float]:
        """What normalised gradients of each output are scaled by: weight of its terms / windows of the step.

        Without it the weights would have no effect where a model normalises gradients, and the gradient would grow with
        the batch.
        """
        of: Counter[str] = Counter(dict.fromkeys(self.model.config.decoder.outputs, 0))  # floats are counted too
        for name, weight in self.weights(progress).items():
            if (output := self.terms[name].output) is not None:
                of[output] += weight  # type: ignore[assignment]
        return {output: weight / windows for output, weight in of.items()}

    def combine(self, losses: Mapping[str, Any], progress: float = 1.0) -> Any:
        """The weighted sum of the terms, of tensors or numbers."""
        return sum(weight * losses[name] for name, weight in self.weights(progress).items())
