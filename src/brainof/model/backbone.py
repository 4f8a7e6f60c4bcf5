"""The backbone: pre-norm blocks of self-attention and experts on the latents, with LayerScale.

Legend: B windows, L latents, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import Attention
from .config import BrainOFConfig
from .experts import Experts
from .ffn import SwiGLU
from .norm import RMSNorm
from .reading_itself import can_read_itself, read_itself

#: Depth up to which output maps start at full size; deeper models start smaller, so that the sum of branches does not
FULL_GAIN_DEPTH = 4


def residual_gain(depth: int) -> float:
    """Factor on the output maps of residual branches: the variance of their sum does not grow with depth."""
    return min(1.0, (FULL_GAIN_DEPTH / depth) ** 0.5)


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.scale_D = nn.Parameter(torch.empty(dim))
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.constant_(self.scale_D, self.start)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_D


class Block(nn.Module):
    """Self-attention and feed-forward on latents."""

    def __init__(self, config: BrainOFConfig, layer: int) -> None:
        super().__init__()
        gain = residual_gain(config.depth)
        self.attention_norm, self.ffn_norm = RMSNorm(config.dim), RMSNorm(config.dim)
        self.attention = Attention(
            config.dim, config.heads, config.attention, layer, config.out_scale, residual_gain=gain
        )
        self.ffn: Experts | SwiGLU
        if config.ffn == "moe":
            self.ffn = Experts(
                config.dim,
                config.experts,
                config.top_k,
                config.hidden,
                config.shared,
                config.route_scale,
                config.expert_backend,
                gain,
            )
        else:
            self.ffn = SwiGLU(config.dim, config.dense_hidden, gain)
        scaled = config.layer_scale
        self.attention_scale = LayerScale(config.dim, scaled) if scaled else nn.Identity()
        self.ffn_scale = LayerScale(config.dim, scaled) if scaled else nn.Identity()

    def forward(self, x_BLD: Tensor, modality_B: Tensor | None = None) -> Tensor:
        h_BLD = self.attention_norm(x_BLD)
        h_BLD = read_itself(self.attention, h_BLD) if can_read_itself(self.attention, h_BLD) else self.attention(h_BLD)
        x_BLD = x_BLD + self.attention_scale(h_BLD)
        h_BLD = self.ffn_norm(x_BLD)
        h_BLD = self.ffn(h_BLD, group_B=modality_B) if isinstance(self.ffn, Experts) else self.ffn(h_BLD)
        return x_BLD + self.ffn_scale(h_BLD)
