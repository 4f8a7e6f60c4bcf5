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
from .heads import PatchHeads
from .sampler import CrossBlock, Encoder, SamplerConfig

Output = Literal["waveform", "log_spectrum", "connectivity", "pretext"]

#: What the output `pretext` tells of a distorted window, and among how many kinds
PRETEXTS = {"band": 5, "shift": 4, "order": 2}


class DecoderConfig(Schema):
    """What is predicted from the latents, and by how many decoders.

    Attributes
    ----------
    kind : {"shared", "separate", "per_output"}
        "shared": one decoder for all outputs. "separate": one for each, all of the same latents. "per_output": each
        output has a decoder, an equal part of the latents (in the order of `outputs`) that reads contents of its own
        (samples for the waveform, log spectra for the log spectrum, correlations for the connectivity), and sends a
        gradient of one and the same norm into them and none into identities and latent vectors
        (`gradient_normalisation.py`).
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
        self.heads = PatchHeads(dim, dict(widths))
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
        self, latents_BLD: Tensor, static_1LD: Tensor, identity_BND: Tensor, index_BQ: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Output -> predictions (B, Q, values), at least float32: at all identities, or those numbered in `index_BQ`.

        identity_BND may have B = 1: what only depends on it is then computed once.
        """
        x_BQD = identity_BND + self.query_D
        for block in self.blocks:
            x_BQD = block(x_BQD, static_1LD, latents_BLD, query_index_BQ=index_BQ)
            index_BQ = None
        return self.heads(x_BQD)
