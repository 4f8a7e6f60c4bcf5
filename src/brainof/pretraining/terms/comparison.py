"""What a term compares, and what a term is.

Shape suffixes: B windows, N tokens (channel-major), S samples per patch, H predicted patches, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ...model.decoder import Output
from ...model.tokens import Tokens, take_tokens
from ..config import ObjectiveConfig
from ..masking import MaskedBatch


@dataclass(frozen=True, eq=False)
class Comparison:
    """A masked batch beside what the model made of it."""

    masked: MaskedBatch
    tokens: Tokens  # The clean patches with their identities
    outputs: Mapping[str, Tensor]  # Predictions (B, H, ...) of the decoder, by output
    latents_BLD: Tensor  # Where they were decoded from
    whole_BLD: Tensor | None  # Latents of the whole window, without a gradient; where a term asks for them
    config: ObjectiveConfig
    target_BHS: Tensor  # With its mask, see `clean_patches`
    sample_mask_BHS: Tensor
    looks: Mapping[str, Tensor] = field(default_factory=dict)  # Of the views of the batch, see `Objective.look`
    aligned: slice | None = None  # The latents that the terms `align` and `networks` compare; None: all

    @property
    def n_predicted_B(self) -> Tensor:
        """Predicted patches of each window."""
        return self.masked.predicted_mask_BH.sum(1)


@dataclass(frozen=True)
class Term:
    """One loss."""

    loss: Callable[[Comparison], Tensor]  # Summed over predicted patches (divided by their count in the whole step)
    output: Output | None  # Output of the decoder that it compares; None: it looks at the latents alone
    whole: bool = False  # Whether it needs the latents of the whole window, which cost a second forward pass
    look: str = ""  # The second look that it needs, one of `MaskedBatch.views`: another forward pass


def at_least_float32(x: Tensor) -> torch.dtype:
    """float64 for float64, float32 for all else."""
    return torch.promote_types(x.dtype, torch.float32)


def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 of each element, in float32 at least."""
    return F.smooth_l1_loss(predicted.to(at_least_float32(predicted)), target, reduction="none")


def patch_loss(predicted_BHX: Tensor, target_BHX: Tensor, mask_BH: Tensor) -> Tensor:
    """Smooth L1 between predicted and true values of patches, a mean over values summed over the patches that count."""
    return (smooth_l1(predicted_BHX, target_BHX).mean(-1) * mask_BH).sum()


def clean_patches(masked: MaskedBatch, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Clean samples (B, H, S) of the predicted patches, and where they are signal: no padding, no fillers."""
    target_BHS = take_tokens(tokens.patch_BNS, masked.predicted_BH)
    mask_BH1 = masked.predicted_mask_BH[..., None]
    if tokens.valid_BNS is None:
        return target_BHS, mask_BH1.expand_as(target_BHS)
    return target_BHS, take_tokens(tokens.valid_BNS, masked.predicted_BH) & mask_BH1
