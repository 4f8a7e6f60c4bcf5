"""The sampler that ARNESS replaces: zero padding of channels and linear interpolation in time, for comparison.

Channels are put on a grid of fixed rows (zero rows where there are too few, linear interpolation where there are too
many), patches on fixed columns by linear interpolation; one cell is one latent. Nothing is addressed by place or time.

Legend: B windows, C channels, P patches, N = C * P tokens, V visible tokens, L = rows * columns latents, D width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from .decoder import PatchHeads
from .layers import RMSNorm, SwiGLU
from .sampler import SamplerConfig, cross_hidden
from .tokens import take_tokens


def resize(x_BCPD: Tensor, rows: int, columns: int) -> Tensor:
    """(B, C, P, D) -> (B, rows, columns, D): linear interpolation, zero rows where there are too few channels."""
    x = x_BCPD.permute(0, 3, 1, 2)  # (B, D, C, P)
    channels = x.shape[2]
    x = F.interpolate(x, size=(min(rows, channels), columns), mode="bilinear", align_corners=False)
    return F.pad(x, (0, 0, 0, max(0, rows - channels))).permute(0, 2, 3, 1)


class InterpolateEncoder(nn.Module):
    """Tokens -> latents on a fixed grid."""

    def __init__(self, dim: int, config: SamplerConfig) -> None:
        super().__init__()
        self.rows, self.columns = config.interpolate_channels, config.latents // config.interpolate_channels
        self.ffn_norm = RMSNorm(dim)
        self.ffn = SwiGLU(dim, cross_hidden(dim))

    def forward(
        self,
        latents_BLD: Tensor,
        content_BVD: Tensor,
        identity_BND: Tensor,
        visible_BV: Tensor | None = None,
        key_mask_BV: Tensor | None = None,
        shape: tuple[int, int] | None = None,
    ) -> Tensor:
        """As `sampler.Encoder.forward`; `shape` is (channels, patches), invisible tokens are zero."""
        assert shape is not None
        if key_mask_BV is not None:
            content_BVD = content_BVD * key_mask_BV[..., None]
        if visible_BV is not None:
            empty = content_BVD.new_zeros(len(content_BVD), identity_BND.shape[1], content_BVD.shape[-1])
            content_BVD = empty.scatter_add(1, visible_BV[..., None].expand_as(content_BVD), content_BVD)
        x_BLD = latents_BLD + resize(content_BVD.unflatten(1, shape), self.rows, self.columns).flatten(1, 2)
        return x_BLD + self.ffn(self.ffn_norm(x_BLD))


class InterpolateDecoder(nn.Module):
    """Latents on the grid -> predictions, by the inverse interpolation."""

    def __init__(self, dim: int, widths: Mapping[str, int], config: SamplerConfig) -> None:
        super().__init__()
        self.rows, self.columns = config.interpolate_channels, config.latents // config.interpolate_channels
        self.query_D = nn.Parameter(torch.empty(dim))
        self.ffn_norm = RMSNorm(dim)
        self.ffn = SwiGLU(dim, cross_hidden(dim))
        self.heads = PatchHeads(dim, widths)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.zeros_(self.query_D)

    def forward(
        self,
        latents_BLD: Tensor,
        static_1LD: Tensor,
        identity_BND: Tensor,
        index_BQ: Tensor | None = None,
        shape: tuple[int, int] | None = None,
    ) -> dict[str, Tensor]:
        """As `decoder.Decoder.forward`; `shape` is (channels, patches)."""
        if shape is None:
            problem = "the interpolating sampler needs the number of channels and patches"
            raise ConfigError(problem, field="shape", fix="pass shape=(C, P)")
        channels, patches = shape
        kept = min(channels, self.rows)  # rows beyond the channels were padding
        grid = latents_BLD.unflatten(1, (self.rows, self.columns))[:, :kept]
        x_BQD = take_tokens(resize(grid, channels, patches).flatten(1, 2), index_BQ)
        x_BQD = x_BQD + take_tokens(identity_BND + self.query_D, index_BQ)
        return self.heads(x_BQD + self.ffn(self.ffn_norm(x_BQD)))
