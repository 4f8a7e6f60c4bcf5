"""The decoder: latents -> predictions at any identity, by the cross-attention of the sampler in the other direction.

Legend: B windows (1 where the batch shares them), N tokens, Q queries, L latents, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from ..schema import Schema, wrong
from .layers import RMSNorm, init_linear, wide
from .sampler import CrossBlock, Encoder, SamplerConfig

Output = Literal["waveform", "log_spectrum", "connectivity", "pretext"]

#: What the output `pretext` tells of a distorted window, and among how many kinds
PRETEXTS = {"band": 5, "shift": 4, "order": 2}

#: Where predictions of the log spectrum start; its floor is at -3
LOG_SPECTRUM_START = -2.0

#: Norm of the gradient of an optimizer step in which one term of weight 1 sees the same gradient in every window
TARGET_NORM = 0.02


class DecoderConfig(Schema):
    """What is predicted from the latents, and by how many decoders.

    Attributes
    ----------
    kind : {"shared", "separate", "per_output"}
        "shared": one decoder for all outputs. "separate": one for each, all of the same latents. "per_output": each
        output has a decoder, an equal part of the latents (in the order of `outputs`) that reads contents of its own
        (samples for the waveform, log spectra for the log spectrum, correlations for the connectivity), and sends a
        gradient of one and the same norm into them and none into identities and latent vectors
        (`normalise_gradient`).
    outputs : tuple of {"waveform", "log_spectrum", "connectivity", "pretext"}
        What is predicted for a patch: its samples (S values), its log amplitude spectrum (S // 2 + 1), the
        correlations of its channel with all others in the window (a profile of D values, `connectivity.py`), and how
        its window was distorted (logits, PRETEXTS).
    blocks : int
        Cross-attention blocks of each decoder.
    """

    kind: Literal["shared", "separate", "per_output"] = "shared"
    outputs: tuple[Output, ...] = ("waveform", "log_spectrum")
    blocks: int = Field(default=1, ge=1)

    @field_validator("outputs")
    @classmethod
    def _distinct(cls, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        if not outputs or len(set(outputs)) != len(outputs):
            raise wrong(f"{list(outputs)} must name at least one output, each once")
        return outputs

    @property
    def decoders(self) -> list[tuple[Output, ...]]:
        """The outputs of each decoder."""
        return [self.outputs] if self.kind == "shared" else [(name,) for name in self.outputs]


class PatchHeads(nn.Module):
    """Normalisation and one linear map per output of the decoder; `widths` are output name -> values per patch."""

    def __init__(self, dim: int, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.names = tuple(widths)
        self.linears = nn.ModuleList(nn.Linear(dim, width) for width in widths.values())
        self.init_weights()

    def init_weights(self) -> None:
        for name, linear in zip(self.names, self.linears, strict=True):
            assert isinstance(linear, nn.Linear)
            init_linear(linear)
            if name == "log_spectrum":  # above the recorded band all is at the floor: steps would go into the offset
                nn.init.constant_(linear.bias, LOG_SPECTRUM_START)

    def forward(self, x_BQD: Tensor) -> dict[str, Tensor]:
        """Output name -> (B, Q, values); at least float32."""
        x_BQD = self.norm(x_BQD)
        return {name: wide(linear(x_BQD)) for name, linear in zip(self.names, self.linears, strict=True)}


class Decoder(nn.Module):
    """Latents and identities -> predictions for one or several outputs (`widths`: output -> values per patch).

    The queries are identities, the keys the static latent vectors and the values the processed latents. Keys without
    content make addresses sharp before there is anything to read: with content in them the decoder learns to ignore the
    latents.
    """

    def __init__(self, dim: int, blocks: int, widths: Mapping[str, int], sampler: SamplerConfig) -> None:
        super().__init__()
        self.query_D = nn.Parameter(torch.empty(dim))
        self.blocks = nn.ModuleList(CrossBlock(dim, sampler) for _ in range(blocks))
        self.heads = PatchHeads(dim, widths)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.zeros_(self.query_D)

    @torch.no_grad()
    def tie(self, encoder: Encoder) -> None:
        """Start with the encoder's addresses, queries and keys exchanged: place n asks latent l as l read n.

        Otherwise a decoder has to find out first where the encoder put what.
        """
        for own, other in zip(self.blocks, encoder.blocks, strict=False):
            assert isinstance(own, CrossBlock)
            assert isinstance(other, CrossBlock)
            own.attention.query.weight.copy_(other.attention.key.weight)
            own.attention.key.weight.copy_(other.attention.query.weight)

    def forward(
        self,
        latents_BLD: Tensor,
        static_1LD: Tensor,
        identity_BND: Tensor,
        index_BQ: Tensor | None = None,
        shape: tuple[int, int] | None = None,
    ) -> dict[str, Tensor]:
        """Output -> predictions (B, Q, values), at least float32: at all identities, or those numbered in `index_BQ`.

        identity_BND may have B = 1: what only depends on it is then computed once. `shape` is for `InterpolateDecoder`.
        """
        x_BQD = identity_BND + self.query_D
        for block in self.blocks:
            x_BQD = block(x_BQD, static_1LD, latents_BLD, query_index_BQ=index_BQ)
            index_BQ = None
        return self.heads(x_BQD)


def normalise_gradient(latents_BLD: Tensor, fraction: float) -> Tensor:
    """The latents themselves, whose gradient has the norm `TARGET_NORM * fraction` in each window; zero stays zero.

    Spectral errors are much larger than waveform errors: with plain sums the optimizer, which scales by root mean
    squares, would move what decoders share for the spectrum alone. Windows do not see each other. With `fraction` =
    weight of the loss term / windows of the optimizer step, a step has the same gradient however its windows are split
    into batches, threads or ranks whose gradients are *added*.
    """
    latents_BLD = latents_BLD.view_as(latents_BLD)

    def normalised(gradient_BLD: Tensor) -> Tensor:
        norm_B = torch.linalg.vector_norm(gradient_BLD.flatten(1), dim=1).clamp(min=1e-12)
        return gradient_BLD * (TARGET_NORM * fraction / norm_B)[:, None, None]

    if latents_BLD.requires_grad:
        latents_BLD.register_hook(normalised)
    return latents_BLD
