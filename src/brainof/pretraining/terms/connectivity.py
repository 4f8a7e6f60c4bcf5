"""The correlation profiles of the clean window, which an output of their own predicts (docs/decisions/0053)."""

from __future__ import annotations

from torch import Tensor

from ...model.connectivity import connectivity_profile
from ...model.tokens import Tokens, take_tokens
from .comparison import Comparison, Term, patch_loss


def connectivity_targets(tokens: Tokens) -> Tensor:
    """Correlation profiles (B, N, D) of all tokens in the clean window, of unit mean square."""
    profile_BND = connectivity_profile(
        tokens.patch_BNS, tokens.identity_BND.detach(), tokens.mask_BN, tokens.n_channels, tokens.valid_BNS
    )
    return profile_BND / profile_BND.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)


def _loss(of: Comparison) -> Tensor:
    target_BHD = take_tokens(connectivity_targets(of.tokens), of.masked.predicted_BH)
    return patch_loss(of.outputs["connectivity"], target_BHD, of.masked.predicted_mask_BH)


TERM = Term(_loss, "connectivity")
