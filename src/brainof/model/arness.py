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
from .config import BrainOFConfig
from .ffn import SwiGLU
from .norm import RMSNorm
from .tokens import take_tokens


class CrossBlock(nn.Module):
    """Cross-attention and feed-forward, each with a residual connection."""

    def __init__(self, config: BrainOFConfig, layer: int) -> None:
        super().__init__()
        self.query_norm, self.key_norm = RMSNorm(config.dim), RMSNorm(config.dim)
        self.value_norm, self.ffn_norm = RMSNorm(config.dim), RMSNorm(config.dim)
        self.attention = Attention(
            config.dim, config.heads, config.cross_attention, layer, config.out_scale, config.temperature
        )
        self.ffn = SwiGLU(config.dim, config.cross_hidden)

    def keys(self, source_BND: Tensor) -> Tensor:
        """Keys of a source, made before tokens are taken from it: identities are shared by the batch."""
        return self.attention.keys(self.key_norm(source_BND))

    def forward(self, x_BQD: Tensor, keys_BND: Tensor, value_BND: Tensor, key_mask_BN: Tensor | None = None) -> Tensor:
        x_BQD = x_BQD + self.attention(
            self.query_norm(x_BQD), keys_BND, self.value_norm(value_BND), key_mask_BM=key_mask_BN
        )
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
        both_BVD = None
        if "both" in (self.keys, self.values):
            both_BVD = content_BVD + take_tokens(identity_BND, visible_BV)
        value_BVD = content_BVD if self.values == "content" or both_BVD is None else both_BVD
        for block in self.blocks:
            if self.keys == "identity" or both_BVD is None:
                keys = take_tokens(block.keys(identity_BND), visible_BV)
            else:
                keys = block.keys(both_BVD)
            latents_BLD = block(latents_BLD, keys, value_BVD, key_mask_BV)
        return latents_BLD


class Decoder(nn.Module):
    """Latents and identities -> predictions for one or several outputs."""

    def __init__(self, config: BrainOFConfig, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.keys = config.decoder_keys
        self.query_D = nn.Parameter(torch.empty(config.dim))
        self.blocks = nn.ModuleList(CrossBlock(config, layer) for layer in range(config.arness_out))
        self.norm = RMSNorm(config.dim)
        self.heads = nn.ModuleDict({name: nn.Linear(config.dim, config.width_of(name)) for name in outputs})  # type: ignore[arg-type]
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.zeros_(self.query_D)
        for head in self.heads.values():
            nn.init.normal_(head.weight, std=(3 * head.in_features) ** -0.5)  # type: ignore[arg-type, union-attr]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(
        self, latents_BLD: Tensor, static_1LD: Tensor, identity_BND: Tensor, index_BQ: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Predictions at the identities, or at those numbered in `index_BQ`; at least float32.

        identity_BND may have B = 1: what only depends on it is then computed once.
        """
        source = {"static": static_1LD, "processed": latents_BLD, "both": latents_BLD + static_1LD}[self.keys]
        x_BQD = take_tokens(identity_BND + self.query_D, index_BQ)
        for block in self.blocks:
            x_BQD = block(x_BQD, block.keys(source), latents_BLD)
        x_BQD = self.norm(x_BQD)
        predictions = {name: head(x_BQD) for name, head in self.heads.items()}
        return {name: x if x.dtype == torch.float64 else x.float() for name, x in predictions.items()}
