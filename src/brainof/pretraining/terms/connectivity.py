"""The correlation profiles of the clean window, which an output of their own predicts (docs/decisions/0053)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...model.connectivity import connectivity_profile
from ...model.tokens import Tokens, take_tokens
from .comparison import Comparison, Term, patch_loss


def connectivity_targets(tokens: Tokens, mean_1PCC: Tensor | None = None) -> Tensor:
    """Correlation profiles (B, N, D) of all tokens in the clean window, of unit mean square.

    Those of `mean_1PCC`, the correlations that windows share (`MaskedBatch`), are taken off first.
    """
    identity_BND = tokens.identity_BND.detach()
    with torch.autocast(identity_BND.device.type, enabled=False):  # differences are small beside what is taken off
        profile_BND = connectivity_profile(
            tokens.patch_BNS, identity_BND, tokens.mask_BN, tokens.n_channels, tokens.valid_BNS
        )
        if mean_1PCC is not None:
            profile_BND = profile_BND - _shared_profiles(tokens, mean_1PCC.to(profile_BND.dtype))
    return profile_BND / profile_BND.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)


def _shared_profiles(tokens: Tokens, mean_1PCC: Tensor) -> Tensor:
    """Profiles (B, N, D) of given correlations, zero for tokens without a signal."""
    seen_BPC1 = tokens.mask_BN.unflatten(1, (tokens.n_channels, -1)).transpose(1, 2).unsqueeze(-1).to(mean_1PCC.dtype)
    identity_BPCD = (
        tokens.identity_BND.detach().to(mean_1PCC.dtype).unflatten(1, (tokens.n_channels, -1)).transpose(1, 2)
    )
    count_BP11 = seen_BPC1.sum(2, keepdim=True).clamp(min=1)
    phi_BPCD = identity_BPCD - (identity_BPCD * seen_BPC1).sum(2, keepdim=True) / count_BP11
    profile_B1CD = (mean_1PCC @ (phi_BPCD * seen_BPC1 / count_BP11.sqrt())).sum(1, keepdim=True)
    return (profile_B1CD * seen_BPC1).transpose(1, 2).flatten(1, 2)


def _loss(of: Comparison) -> Tensor:
    target_BHD = take_tokens(connectivity_targets(of.tokens, of.masked.mean_1PCC), of.masked.predicted_BH)
    return patch_loss(of.outputs["connectivity"], target_BHD, of.masked.predicted_mask_BH)


TERM = Term(_loss, "connectivity")
