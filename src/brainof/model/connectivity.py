"""What a channel is connected to: correlations with the other visible channels, expressed in their identities.

Linear maps of a patch, and its spectrum, say nothing of other channels; who goes with whom is what identifies a person
in fMRI and what the spatial covariance of EEG holds. The profile of channel i in a window is sum_j r_ij phi_j over the
other visible channels j, with phi_j the identity of j (centred) and r_ij their correlation, where what is not visible
counts as zero, so that it shrinks with the fraction that is hidden of either: a row of the correlation matrix,
projected from channels to the width of the model, so that it means the same in every layout. Every visible patch of a
channel carries the profile of the window: correlations of single patches are mostly noise, and latents that weigh
patches differently would not average it away (docs/decisions/0053).

Legend: B windows (1 where the batch shares identities), C channels, P patches per channel, N = C * P tokens
(channel-major), S samples per patch, V visible tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .tokens import Tokens, take_tokens


def connectivity_profile(
    patch_BNS: Tensor,
    identity_BND: Tensor,
    seen_BN: Tensor,
    n_channels: int,
    valid_BNS: Tensor | None = None,
) -> Tensor:
    """Correlation profiles (B, N, D) of the seen patches, zero for others; at least float32.

    `valid_BNS` is True where a sample is signal, so that padding does not enter.

    With u the signal of a channel over its seen samples, centred and of unit length, and zero elsewhere, the sum over
    pairs factorises, sum_j <u_i, u_j> phi_j = sum_p u_ip' (sum_j u_jp phi_jp'): the cost is linear in the number of
    channels. What is seen of two channels in different patches counts as uncorrelated. Each segment is divided by the
    root of its number of seen channels.
    """
    return _at_seen(_profile_of_channels(patch_BNS, identity_BND, seen_BN, n_channels, valid_BNS), seen_BN)


def _at_seen(x_BCD: Tensor, seen_BN: Tensor) -> Tensor:
    """What a channel has, at each of its seen patches (B, N, D); zero at others."""
    seen_BCP1 = seen_BN.unflatten(1, (x_BCD.shape[1], -1)).unsqueeze(-1)
    return (x_BCD.unsqueeze(2) * seen_BCP1.to(x_BCD.dtype)).flatten(1, 2)


def _profile_of_channels(
    patch_BNS: Tensor, identity_BND: Tensor, seen_BN: Tensor, n_channels: int, valid_BNS: Tensor | None
) -> Tensor:
    """The profile that all patches of a channel share, (B, C, D)."""
    dtype = torch.promote_types(torch.promote_types(patch_BNS.dtype, identity_BND.dtype), torch.float32)
    seen = seen_BN.unflatten(1, (n_channels, -1)).unsqueeze(-1).to(dtype)
    weight = seen if valid_BNS is None else seen * valid_BNS.to(dtype).unflatten(1, (n_channels, -1))
    patch = patch_BNS.to(dtype).unflatten(1, (n_channels, -1))
    samples = weight.expand_as(patch).sum((2, 3), keepdim=True).clamp(min=1)
    patch = (patch - (patch * weight).sum((2, 3), keepdim=True) / samples) * weight
    unit = patch / torch.linalg.vector_norm(patch, dim=(2, 3), keepdim=True).clamp(min=1e-6)
    identity = identity_BND.to(dtype).unflatten(1, (n_channels, -1))
    count = seen.sum(1, keepdim=True).clamp(min=1)
    phi = (identity - (identity * seen).sum(1, keepdim=True) / count) * (seen / count.sqrt())
    unit_BPCS, phi_BPCD = unit.transpose(1, 2), phi.transpose(1, 2)
    profile = unit_BPCS @ (unit_BPCS.mT @ phi_BPCD)
    profile = profile - unit_BPCS.square().sum(-1, keepdim=True) * phi_BPCD  # without itself
    return profile.sum(1)


def seen_of(mask_BN: Tensor, visible_BV: Tensor | None = None, visible_mask_BV: Tensor | None = None) -> Tensor:
    """True where a token is visible and holds signal, (B, N); all that hold signal without `visible_BV`."""
    if visible_BV is None:
        return mask_BN
    counts_BV = torch.ones_like(visible_BV, dtype=torch.bool) if visible_mask_BV is None else visible_mask_BV
    # a filler repeats a token that is visible, so a plain write could take it away again
    seen_BN = torch.zeros_like(mask_BN, dtype=torch.int8).scatter_add(1, visible_BV, counts_BV.to(torch.int8)) > 0
    return seen_BN & mask_BN


class Connectivity(nn.Module):
    """A linear map of the correlation profiles of the visible tokens, to be added to their contents."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.normal_(self.linear.weight, std=self.linear.in_features**-0.5)

    def forward(self, tokens: Tokens, seen_BN: Tensor, visible_BV: Tensor | None = None) -> Tensor:
        """Contents (B, V, D) of the visible tokens, of all without `visible_BV`; only what is seen enters."""
        # identities are addresses; the loss moves them through the keys alone
        about = tokens.identity_BND.detach(), seen_BN, tokens.n_channels, tokens.valid_BNS
        profile_BCD = self.linear(_profile_of_channels(tokens.patch_BNS, *about).to(self.linear.weight.dtype))
        return take_tokens(_at_seen(profile_BCD, seen_BN), visible_BV)
