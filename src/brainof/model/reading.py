"""Tokens -> latents without gradients where one attention map serves the whole batch, a piece of the tokens at a time.

The map depends on layout and weights alone, so it is remembered between batches. Contents c of a piece go straight into
the latents: neither they nor their values are ever stored for a whole window. Two normalisations lie between contents
and values, of the content and of the value, with weights w and u; both are a number per token and a weight per feature,

    value(norm_u(norm_w(c))) = s V diag(w u) c,  s = r / sqrt(r^2 mean(w^2 c^2) + eps),  r = 1 / sqrt(mean(c^2) + eps),

so that the weights go into V and one pass over the projected values remains.

Legend: B windows, g windows of a piece, N tokens of a window, n tokens of a piece, R = g n rows, S samples per patch,
L latents, H heads, e width of a head, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .arness import CrossBlock, Encoder
from .attention import attention_map
from .remember import Remembered, may_remember
from .tokens import Content, log_spectrum

#: Rows of a piece: what is computed of them stays in the cache of a core
ROWS = 1024


def can_read(
    encoder: nn.Module, content: Content, latents_BLD: Tensor, identity_BND: Tensor, mask_BN: Tensor | None
) -> bool:
    """True where `read_shared` gives what the encoder does."""
    return (
        isinstance(encoder, Encoder)
        and len(encoder.blocks) == 1  # a second block's queries differ between windows
        and (encoder.keys, encoder.values) == ("identity", "content")
        and _block(encoder).attention.kind == "softmax"
        and may_remember(encoder, content)  # lengths asked for while a program is exported would be constants in it
        and len(latents_BLD) == len(identity_BND) == 1
        and (mask_BN is None or bool((mask_BN == mask_BN[:1]).all()))
    )


def read_shared(
    remembered: Remembered,
    encoder: nn.Module,
    content: Content,
    latents_1LD: Tensor,
    identity_1ND: Tensor,
    patch_BNS: Tensor,
    extra_BND: Tensor | None = None,
    mask_1N: Tensor | None = None,
    stream: str | None = None,
) -> Tensor:
    """Latents (B, L, D) that hold the contents of all tokens; arguments as `Encoder.forward` and `Content.forward`.

    `mask_1N` is True where a token is valid, in all windows alike; with `stream` (a name of `Content.streams`) only
    this part of the contents is read.
    """
    block = _block(encoder)
    extra_BND = extra_BND if stream in (None, "connectivity") else None
    map_HLN = _map(remembered, block, latents_1LD, identity_1ND, mask_1N)
    raw, values = _raw_contents(content, stream), _values(content, block)
    heads, tokens = len(map_HLN), patch_BNS.shape[1]
    out_BLHe = map_HLN.new_empty(len(patch_BNS), map_HLN.shape[1], heads, latents_1LD.shape[-1] // heads)
    together = max(1, ROWS // tokens)  # small windows: several in one product
    for first in range(0, len(patch_BNS), together):
        out_gLHe = out_BLHe[first : first + together]
        out_HLge = torch.zeros_like(out_gLHe.permute(2, 1, 0, 3), memory_format=torch.contiguous_format)
        for start in range(0, tokens, ROWS):
            piece = (slice(first, first + together), slice(start, start + ROWS))
            extra_RD = None if extra_BND is None else extra_BND[piece].flatten(0, 1)
            value_RD = values(raw(patch_BNS[piece].flatten(0, 1), extra_RD))
            value_gnHe = value_RD.view(len(out_gLHe), -1, heads, out_gLHe.shape[-1])
            out_HLge.flatten(2).baddbmm_(map_HLN[:, :, piece[1]], value_gnHe.permute(2, 1, 0, 3).flatten(2))
        out_gLHe.copy_(out_HLge.permute(2, 1, 0, 3))
    return block.add(latents_1LD, block.attention.out(out_BLHe.flatten(2)))


def _block(encoder: nn.Module) -> CrossBlock:
    """The one block of an encoder."""
    assert isinstance(encoder, Encoder)
    block = encoder.blocks[0]
    assert isinstance(block, CrossBlock)
    return block


def _map(
    remembered: Remembered, block: CrossBlock, latents_1LD: Tensor, identity_1ND: Tensor, mask_1N: Tensor | None
) -> Tensor:
    """The attention map (H, L, N)."""
    attention = block.attention
    queried = (block.query_norm, block.key_norm, attention.query, attention.key)
    values = [latents_1LD, *(weight for module in queried for weight in module.parameters())]
    values += [x for x in (mask_1N, attention.temperature) if x is not None]
    key = ("map", mask_1N is None, attention.temperature is None, attention.scale, attention.heads)

    def make() -> Tensor:
        queries = attention.queries(block.query_norm(latents_1LD))
        keys = attention.keys(block.key_norm(identity_1ND))
        return attention_map(attention._split(queries), attention._split(keys), attention.scale, mask_1N)[0]

    return remembered(key, make, values, identity_1ND)


def _raw_contents(content: Content, stream: str | None) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Contents before their normalisation, of all streams together or of one; a function of rows (R, S) and extras."""
    linear, hidden, output = content.linear, content.spectrum_hidden, content.spectrum_output
    bias_D = linear.bias if stream is not None or output is None else linear.bias + output.bias

    def raw(patch_RS: Tensor, extra_RD: Tensor | None) -> Tensor:
        x_RD = extra_RD
        if stream in (None, "waveform"):
            x_RD = F.linear(patch_RS.to(linear.weight.dtype), linear.weight, bias_D)
            x_RD = x_RD if extra_RD is None else x_RD.add_(extra_RD)
        if hidden is not None and output is not None and stream in (None, "log_spectrum"):
            h_RD = F.gelu(hidden(log_spectrum(patch_RS).to(linear.weight.dtype)))
            # the products of samples and spectrum, and both biases, add up in one place
            x_RD = output(h_RD) if x_RD is None else x_RD.addmm_(h_RD, output.weight.t())
        assert x_RD is not None
        return x_RD

    return raw


def _values(content: Content, block: CrossBlock) -> Callable[[Tensor], Tensor]:
    """Projected values (R, D) of contents that are not yet normalised."""
    first, second, value = content.norm, block.value_norm, block.attention.value
    weight_DD = (value.weight * (first.weight * second.weight)).t()
    mean_D = first.weight.square() / len(first.weight)

    def values(c_RD: Tensor) -> Tensor:
        square_RD = c_RD.square()
        r_R = square_RD.mean(1).add_(first.eps).rsqrt_()
        s_R = (square_RD @ mean_D).mul_(r_R.square()).add_(second.eps).rsqrt_().mul_(r_R)
        return (c_RD @ weight_DD).mul_(s_R[:, None])

    return values
