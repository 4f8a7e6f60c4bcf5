"""The backbone: pre-norm blocks of self-attention and experts on the latents, with LayerScale.

Legend: B windows, L latents, D width.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from torch import Tensor, nn

from ..schema import Schema, wrong
from .attention import Attention
from .experts import Experts
from .layers import LayerScale, RMSNorm, SwiGLU

#: Rows of grouped products must be multiples of 16 bytes; 8 features are that in bfloat16 and more in float32
ALIGNMENT = 8

#: Depth up to which output maps start at full size; deeper ones start smaller: the variance of the sum does not grow
FULL_GAIN_DEPTH = 4


def _aligned(width: int) -> int:
    if width % ALIGNMENT:
        raise wrong(f"{width} is not a multiple of {ALIGNMENT} (grouped products need rows of 16 bytes)")
    return width


#: A width that grouped products can take
Aligned = AfterValidator(_aligned)


class BackboneConfig(Schema):
    """Blocks on the latents.

    Attributes
    ----------
    depth, heads : int
        Blocks, and attention heads H.
    attention : {"dint", "diff", "softmax"}
        Self-attention; "diff" and "softmax" are for comparison.
    ffn : {"moe", "dense"}
        Sparse experts, or one feed-forward of the same active width (`shared + top_k * hidden`).
    experts, top_k, hidden, shared : int
        Routed experts, experts per token, hidden width of each, hidden width of the shared expert (0: none).
    layer_scale : float
        Starting value of the per-channel scale of each residual branch; 0 leaves it out.
    """

    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    attention: Literal["dint", "diff", "softmax"] = "dint"
    ffn: Literal["moe", "dense"] = "moe"
    experts: int = Field(default=8, ge=1)
    top_k: int = Field(default=2, ge=1)
    hidden: Annotated[int, Field(ge=8), Aligned] = 128
    shared: Annotated[int, Field(ge=0), Aligned] = 256
    layer_scale: float = Field(default=0.05, ge=0)

    @model_validator(mode="after")
    def _enough_experts(self) -> Self:
        if self.top_k > self.experts:
            raise wrong(f"top_k {self.top_k} experts per token, but there are only {self.experts}")
        return self

    @property
    def dense_hidden(self) -> int:
        """Hidden width of a dense feed-forward with as many active weights as the experts."""
        return self.shared + self.top_k * self.hidden


class Block(nn.Module):
    """Self-attention and feed-forward on latents; `layer` is its depth, from 0."""

    def __init__(self, dim: int, config: BackboneConfig, layer: int) -> None:
        super().__init__()
        gain = min(1.0, (FULL_GAIN_DEPTH / config.depth) ** 0.5)
        self.attention_norm, self.ffn_norm = RMSNorm(dim), RMSNorm(dim)
        self.attention = Attention(dim, config.heads, config.attention, layer, gain)
        self.ffn: Experts | SwiGLU
        if config.ffn == "moe":
            self.ffn = Experts(dim, config.experts, config.top_k, config.hidden, config.shared, gain)
        else:
            self.ffn = SwiGLU(dim, config.dense_hidden, gain)
        start = config.layer_scale
        self.attention_scale, self.ffn_scale = (LayerScale(dim, start) if start else nn.Identity() for _ in range(2))

    def forward(self, x_BLD: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents (B, L, D), and the experts that each was sent to (B, L, K), None in a dense block."""
        x_BLD = x_BLD + self.attention_scale(self.attention(self.attention_norm(x_BLD)))
        made = self.ffn(self.ffn_norm(x_BLD))
        h_BLD, ids_BLK = made if isinstance(self.ffn, Experts) else (made, None)
        return x_BLD + self.ffn_scale(h_BLD), ids_BLK
