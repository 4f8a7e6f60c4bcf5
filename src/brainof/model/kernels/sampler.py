"""Tokens -> latents without gradients, a few windows at a time: contents and values of a batch are never stored.

Reason: with the norm of `norm.py`, embedding windows of 64 x 40 patches is 1.45 (`tiny`) and 1.3 (width 256) times as
fast as with the plain forms.

Two normalisations lie between contents c and values, with weights w and u. Both are a number per token and a weight per
feature, so that the weights go into the value map V and one pass over its output remains:

    V norm_u(norm_w(c)) = s (V diag(w u)) c,    r = 1 / sqrt(mean(c^2) + eps),    s = r / sqrt(r^2 mean(w^2 c^2) + eps).

Legend: B windows, g windows at a time, N tokens, V visible tokens, S samples per patch, L latents, H heads, e width of
a value, D width.
"""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import apply_map, attention_map, merge_heads, split_heads
from ..sampler import CrossBlock, Encoder
from ..tokens import Content, take_tokens
from . import plain_inference

#: Tokens at a time at least, where windows are smaller
TOKENS = 1024


def use_by_window(encoder: nn.Module, x: Tensor) -> TypeGuard[Encoder]:
    """True in inference where one block reads the contents, by a map that nothing wraps (as PEFT does)."""
    blocks: Any = getattr(encoder, "blocks", ())
    return plain_inference(x) and len(blocks) == 1 and type(blocks[0].attention.value) is nn.Linear


def sample_by_window(
    encoder: Encoder,
    content: Content,
    start_BLD: Tensor,
    patch_BVS: Tensor,
    extra_BVD: Tensor | None,
    output: str | None,
    map_BHLV: Tensor | None,
    identity_BND: Tensor,
    visible_BV: Tensor | None,
    mask_BV: Tensor | None,
) -> Tensor:
    """As `encoder(start_BLD, content(patch_BVS, extra_BVD, output), identity_BND, visible_BV, mask_BV)`, in inference.

    A few windows at a time: contents and values of a batch are never stored. With the fast norm, embedding windows of
    64 x 40 patches is 1.45 (`tiny`) and 1.3 (width 256) times as fast as with the plain forms. B may be 1 in latents
    and identities; `map_BHLV` is that with which latents read all tokens, if it is known.

    Two normalisations lie between contents c and values, with weights w and u. Both are a number per token and a weight
    per feature, so that the weights go into the value map V and one pass over its output remains:

        V norm_u(norm_w(c)) = s (V diag(w u)) c,  r = 1 / sqrt(mean(c^2) + eps),  s = r / sqrt(r^2 mean(w^2 c^2) + eps)
    """
    block = cast(CrossBlock, encoder.blocks[0])
    attention, first, second = block.attention, content.norm, block.value_norm
    if map_BHLV is None:
        queries_BLD, keys_BND = block.addresses(start_BLD, identity_BND)
        q, k = (split_heads(x, attention.heads) for x in (queries_BLD, take_tokens(keys_BND, visible_BV)))
        if mask_BV is None and len(q) == len(k) == 1:
            map_BHLV = attention_map(q, k, 1.0)
    weight_DD = attention.value.weight * (first.weight * second.weight)
    mean_D = first.weight.square() / len(first.weight)
    # one place for all: results between the freed temporary values of the windows would scatter the heap
    read_BLD = weight_DD.new_empty(len(patch_BVS), start_BLD.shape[1], len(weight_DD))
    windows = max(1, TOKENS // patch_BVS.shape[1])
    for start in range(0, len(patch_BVS), windows):
        some = slice(start, start + windows)
        map_gHLV = map_BHLV
        if map_gHLV is None:
            q_gHLe, k_gHVe = (x if len(x) == 1 else x[some] for x in (q, k))
            map_gHLV = attention_map(q_gHLe, k_gHVe, 1.0, None if mask_BV is None else mask_BV[some])
        c_gVD = _contents(content, patch_BVS[some], None if extra_BVD is None else extra_BVD[some], output)
        square_gVD = c_gVD.square()
        r_gV = square_gVD.mean(-1).add_(first.eps).rsqrt_()
        s_gV = (square_gVD @ mean_D).mul_(r_gV.square()).add_(second.eps).rsqrt_().mul_(r_gV)
        v_gVD = F.linear(c_gVD, weight_DD).mul_(s_gV[..., None])
        read_BLD[some] = merge_heads(apply_map(map_gHLV, split_heads(v_gVD, attention.heads)))
    x_BLD = start_BLD + attention.written(read_BLD)
    return x_BLD + block.ffn(block.ffn_norm(x_BLD))


def _contents(content: Content, patch_gVS: Tensor, extra_gVD: Tensor | None, output: str | None) -> Tensor:
    """As `content.raw`; the products of samples and spectrum add up in one place."""
    if output is not None or not (type(content.linear) is type(content.spectrum_output) is nn.Linear):
        return content.raw(patch_gVS, extra_gVD, output)
    assert content.spectrum_output is not None
    hidden_gVD = content.hidden(patch_gVS)
    bias_D = content.linear.bias + content.spectrum_output.bias
    c_gVD = F.linear(patch_gVS.to(bias_D.dtype), content.linear.weight, bias_D)
    if extra_gVD is not None:
        c_gVD += extra_gVD
    c_gVD.flatten(0, 1).addmm_(hidden_gVD.flatten(0, 1), content.spectrum_output.weight.t())
    return c_gVD
