"""ARNESS, the Any-Resolution Neural Signal Sampler: any channels x patches -> L latents.

Pre-norm cross-attention blocks as in Perceiver (arXiv:2103.03206): the queries are latents, the keys identities of
visible tokens and the values their contents.

Legend: B windows (1 where the batch shares them), g windows at a time, N tokens, V visible tokens, S samples per patch,
Q queries, L latents, H heads, e width of a value, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Self, cast

from pydantic import Field, model_validator
from torch import Tensor, nn

from ..schema import Schema, wrong
from ..utils.values import ceil_div
from .attention import CrossAttention, mask_without
from .layers import RMSNorm, SwiGLU
from .tokens import take_tokens


class SamplerConfig(Schema):
    """How tokens become latents.

    Attributes
    ----------
    kind : {"arness", "interpolate"}
        "interpolate" (zero padding and linear interpolation) is for comparison, see `interpolate.py`.
    latents, heads, blocks : int
        Latent tokens L, attention heads and cross-attention blocks; decoders have the same heads.
    temperature : float
        Starting temperature of the cross-attention, whose queries and keys have unit length; learned per head.
    initial_addressing : {"independent", "tied"}
        "independent": encoder and decoders start with addresses of their own. "tied": decoders start with the addresses
        of the encoder, queries and keys exchanged, latent vectors are small (0.05 instead of 0.5) and cross-attention
        writes four times as loud, so that the signal is not drowned by the latent vectors and identities it is added
        to; all are trained on their own from there. Waveforms are learned late or never without it
        (docs/decisions/0015).
    contrast : bool
        The first latent of an encoder keeps the mean of what all have read, the others what they differ from it by
        (docs/decisions/0078).
    fixed : sequence of {"connectivity"}
        Outputs whose latents are read by an encoder of their own, which pretraining leaves at its random weights, as
        it leaves all identities then (docs/decisions/0113). Of models with `decoder.kind` "per_output".
    covariance : sequence of {"eeg"}
        Modalities whose latents of correlations hold the log covariance of virtual sensors instead (`covariance.py`);
        needs `fixed`.
    interpolate_channels : int
        Channel rows of the grid of "interpolate"; must divide `latents`.
    """

    kind: Literal["arness", "interpolate"] = "arness"
    latents: int = Field(default=64, ge=1)
    heads: int = Field(default=4, ge=1)
    blocks: int = Field(default=1, ge=1)
    temperature: float = Field(default=16.0, gt=0)
    initial_addressing: Literal["independent", "tied"] = "independent"
    contrast: bool = True
    fixed: tuple[Literal["connectivity"], ...] = ()
    covariance: tuple[Literal["eeg"], ...] = ()
    interpolate_channels: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.covariance and not self.fixed:
            raise wrong("covariance needs fixed=[connectivity]")
        if self.kind == "interpolate":
            if self.latents % self.interpolate_channels:
                raise wrong(f"interpolate_channels {self.interpolate_channels} does not divide latents {self.latents}")
            if self.initial_addressing == "tied":
                raise wrong("initial_addressing 'tied' needs the kind 'arness'")
        return self


def cross_hidden(dim: int) -> int:
    """Hidden width of the feed-forward in a cross-attention block: 8/3 D, rounded up to a multiple of 32."""
    return ceil_div(8 * dim, 96) * 32


class CrossBlock(nn.Module):
    """Cross-attention and feed-forward, each with a residual connection."""

    def __init__(self, dim: int, config: SamplerConfig, contrast: bool = False) -> None:
        super().__init__()
        self.query_norm, self.key_norm = RMSNorm(dim), RMSNorm(dim)
        self.value_norm, self.ffn_norm = RMSNorm(dim), RMSNorm(dim)
        gain = 4.0 if config.initial_addressing == "tied" else 1.0
        self.attention = CrossAttention(dim, config.heads, config.temperature, gain, contrast)
        self.ffn = SwiGLU(dim, cross_hidden(dim))

    def addresses(self, x_BQD: Tensor, source_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Queries of x and keys of the source."""
        return self.attention.queries(self.query_norm(x_BQD)), self.attention.keys(self.key_norm(source_BND))

    def forward(
        self,
        x_BQD: Tensor,
        source_BND: Tensor,
        value_BVD: Tensor,
        key_index_BV: Tensor | None = None,
        key_mask_BV: Tensor | None = None,
        query_index_BQ: Tensor | None = None,
    ) -> Tensor:
        """x reads the values, addressed by keys made of the source.

        The indices take queries from x and keys from the source. They are taken after the projections: identities and
        latent vectors are shared by the batch (B = 1), so these are computed once.
        """
        q_BQD, k_BND = self.addresses(x_BQD, source_BND)
        q_BQD, k_BVD = take_tokens(q_BQD, query_index_BQ), take_tokens(k_BND, key_index_BV)
        x_BQD = take_tokens(x_BQD, query_index_BQ)
        x_BQD = x_BQD + self.attention(q_BQD, k_BVD, self.value_norm(value_BVD), key_mask_BV)
        return x_BQD + self.ffn(self.ffn_norm(x_BQD))


class Encoder(nn.Module):
    """Tokens -> latents, through cross-attention blocks."""

    def __init__(self, dim: int, config: SamplerConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CrossBlock(dim, config, config.contrast) for _ in range(config.blocks))

    def forward(
        self,
        latents_BLD: Tensor,
        content_BVD: Tensor,
        identity_BND: Tensor,
        visible_BV: Tensor | None = None,
        key_mask_BV: Tensor | None = None,
        shape: tuple[int, int] | None = None,
    ) -> Tensor:
        """Latents that hold the visible tokens (all without their numbers `visible_BV`), which `content_BVD` describes.

        `latents_BLD` is where to start: the static vectors (B = 1), or the latents of another modality (serial fusion).
        `identity_BND` are those of all tokens (B may be 1), `key_mask_BV` is True where a visible token is valid;
        `shape` is for `InterpolateEncoder`.
        """
        for block in self.blocks:
            latents_BLD = block(latents_BLD, identity_BND, content_BVD, visible_BV, key_mask_BV)
        return latents_BLD

    def without_parts(
        self,
        latents_1LD: Tensor,
        content_BND: Tensor,
        identity_BND: Tensor,
        parts: Sequence[Tensor],
        mask_BN: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """As `forward`, without the tokens of one part (their numbers) after the other.

        Keys and values of the first block are made once. `mask_BN` is True where a token is valid.
        """
        first, *later = (cast(CrossBlock, block) for block in self.blocks)
        queries_1LD, keys_BND = first.addresses(latents_1LD, identity_BND)
        v_BHNe = first.attention.values(first.value_norm(content_BND))
        reads = first.attention.read_without(queries_1LD, keys_BND, v_BHNe, parts, mask_BN)
        for part, read_BLD in zip(parts, reads, strict=True):
            x_BLD = latents_1LD + read_BLD
            x_BLD = x_BLD + first.ffn(first.ffn_norm(x_BLD))
            own_BN = mask_without(part, content_BND.shape[1], mask_BN)
            for block in later:
                x_BLD = block(x_BLD, identity_BND, content_BND, key_mask_BV=own_BN)
            yield x_BLD
