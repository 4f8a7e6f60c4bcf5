"""ARNESS, the Any-Resolution Neural Signal Sampler: any channels x patches -> L latents, and back.

Pre-norm cross-attention blocks. In the encoder the queries are latents, the keys identities of visible tokens and the
values their contents; in the decoder the queries are identities, the keys the static latent vectors and the values the
processed latents. Keys without content make addresses sharp before there is anything to read: with content in the keys
the decoder learns to ignore the latents.

Legend: B windows (1 where the batch shares them), N tokens, V visible tokens, Q queries, L latents, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import Attention
from .config import BrainOFConfig, Output
from .ffn import SwiGLU
from .heads import PatchHeads
from .norm import RMSNorm
from .tokens import take_tokens


class CrossBlock(nn.Module):
    """Cross-attention and feed-forward, each with a residual connection."""

    def __init__(self, config: BrainOFConfig, layer: int) -> None:
        super().__init__()
        self.query_norm, self.key_norm = RMSNorm(config.dim), RMSNorm(config.dim)
        self.value_norm, self.ffn_norm = RMSNorm(config.dim), RMSNorm(config.dim)
        self.attention = Attention(
            config.dim,
            config.heads,
            config.cross_attention,
            layer,
            config.out_scale,
            config.temperature,
            residual_gain=config.cross_gain,
        )
        self.ffn = SwiGLU(config.dim, config.cross_hidden)

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
        attention = self.attention
        queries_BQD = take_tokens(attention.queries(self.query_norm(x_BQD)), query_index_BQ)
        keys_BVD = take_tokens(attention.keys(self.key_norm(source_BND)), key_index_BV)
        if attention.shares_map(queries_BQD, keys_BVD, value_BVD, key_mask_BV is not None):
            read_BQD = attention.attend_shared(queries_BQD, keys_BVD, value_BVD, self.value_norm)
        else:
            read_BQD = attention.attend(queries_BQD, keys_BVD, self.value_norm(value_BVD), key_mask_BV)
        return self.add(take_tokens(x_BQD, query_index_BQ), read_BQD)

    def add(self, x_BQD: Tensor, read_BQD: Tensor) -> Tensor:
        """x with what it read, through the feed-forward."""
        x_BQD = x_BQD + read_BQD
        return x_BQD + self.ffn(self.ffn_norm(x_BQD))


class Encoder(nn.Module):
    """Tokens -> latents."""

    def __init__(self, config: BrainOFConfig) -> None:
        super().__init__()
        self.keys, self.values = config.keys, config.values
        self.blocks = nn.ModuleList(CrossBlock(config, layer) for layer in range(config.arness_in))

    def forward(
        self,
        latents_BLD: Tensor,
        content_BVD: Tensor,
        identity_BND: Tensor,
        visible_BV: Tensor | None = None,
        key_mask_BV: Tensor | None = None,
    ) -> Tensor:
        """Latents that hold the visible tokens.

        Parameters
        ----------
        latents_BLD : Tensor
            Where to start: the static vectors (B = 1), or the latents of another modality (serial fusion).
        content_BVD : Tensor
            Contents of the visible tokens.
        identity_BND : Tensor
            Identities of all tokens; B may be 1.
        visible_BV : Tensor of int64, optional
            Numbers of the visible tokens; all without it.
        key_mask_BV : Tensor of bool, optional
            True where a visible token is valid.
        """
        source_BND, index_BV, value_BVD = identity_BND, visible_BV, content_BVD
        if self.keys == "both" or self.values == "both":
            both_BVD = content_BVD + take_tokens(identity_BND, visible_BV)
            if self.keys == "both":
                source_BND, index_BV = both_BVD, None
            if self.values == "both":
                value_BVD = both_BVD
        for block in self.blocks:
            latents_BLD = block(latents_BLD, source_BND, value_BVD, index_BV, key_mask_BV)
        return latents_BLD


class Decoder(nn.Module):
    """Latents and identities -> predictions for one or several outputs."""

    def __init__(self, config: BrainOFConfig, outputs: tuple[Output, ...]) -> None:
        super().__init__()
        self.keys = config.decoder_keys
        self.query_D = nn.Parameter(torch.empty(config.dim))
        self.blocks = nn.ModuleList(CrossBlock(config, layer) for layer in range(config.arness_out))
        self.heads = PatchHeads(config.dim, {name: config.width_of(name) for name in outputs})
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.zeros_(self.query_D)

    @torch.no_grad()
    def mirror(self, encoder: Encoder) -> None:
        """Take over the encoder's addresses: place n asks latent l as strongly as l read n.

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
        """Predictions at the identities, or at those numbered in `index_BQ`; at least float32.

        identity_BND may have B = 1: what only depends on it is then computed once.
        """
        source = {"static": static_1LD, "processed": latents_BLD, "both": latents_BLD + static_1LD}[self.keys]
        x_BQD = identity_BND + self.query_D
        for block in self.blocks:
            x_BQD = block(x_BQD, source, latents_BLD, query_index_BQ=index_BQ)
            index_BQ = None
        return self.heads(x_BQD)
