"""Softmax attention that never stores a map, and DINT attention that stores one for both halves.

Reason of the fused form: faster than the explicit form on GPUs and, on CPU, for long sequences (float32 from 128 x 256,
forward and backward: 1.6 to 3.8 times); below, and in bfloat16 up to 512 x 1024, the explicit form is faster (0.2 to
0.9 times).

Reason of the combined form: it halves the products with the values, and the maps of a window stay in the cache. Without
gradients in float32, one thread: 16 x 64 x 128 in 0.8 and 16 x 128 x 256 in 0.78 of the time of the plain form.

Reason of the form that masks after the softmax: windows that share queries and keys then share the map, whatever each
lacks: 16 windows of 4 heads x 64 x 1024 in 0.3, of 8 x 32 x 200 in 0.5 of the time of the plain form, one thread.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from . import plain_inference

#: Queries x keys up to which the explicit form is faster on CPU
EXPLICIT_FLOAT32, EXPLICIT_BFLOAT16 = 128 * 256, 512 * 1024


def use_fused(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """True where the fused form is the faster one."""
    if q.shape[-4] == k.shape[-4] == 1 < v.shape[-4]:
        return False  # one explicit map serves the whole batch
    if q.device.type != "cpu":
        return True
    limit = EXPLICIT_BFLOAT16 if q.dtype == torch.bfloat16 else EXPLICIT_FLOAT32
    return q.shape[-2] * k.shape[-2] > limit


def fused_attention(
    q_BHNd: Tensor, k_BHMd: Tensor, v_BHMe: Tensor, scale: float, key_mask_BM: Tensor | None = None
) -> Tensor:
    """softmax(scale q k^T) v, shape (B, H, N, e); B may be 1 in q, k and v.

    Narrow queries and keys are padded with zeros to the value width, because unequal widths silently fall to a path
    that stores the maps.
    """
    batch = max(x.shape[0] for x in (q_BHNd, k_BHMd, v_BHMe))
    missing = v_BHMe.shape[-1] - q_BHNd.shape[-1]
    if missing > 0:
        q_BHNd, k_BHMd = F.pad(q_BHNd, (0, missing)), F.pad(k_BHMd, (0, missing))
    q, k, v = (x.expand(batch, *x.shape[1:]) for x in (q_BHNd, k_BHMd, v_BHMe))
    mask = None if key_mask_BM is None else key_mask_BM[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def masked_after(q_1HNd: Tensor, k_1HMd: Tensor, v_BHMe: Tensor, scale: float, key_mask_BM: Tensor) -> Tensor:
    """softmax(scale q k^T) v under a mask for each window, (B, H, N, e); without any key the result is zero."""
    logits_HNM = (scale * q_1HNd[0]) @ k_1HMd[0].mT
    weights_HNM = (logits_HNM - logits_HNM.amax(-1, keepdim=True)).exp()
    mask_BM1 = key_mask_BM[..., None].to(weights_HNM.dtype)
    seen = [
        (weights_HNM @ (v_HMe * mask_M1)) / (weights_HNM @ mask_M1).clamp_min(torch.finfo(weights_HNM.dtype).tiny)
        for v_HMe, mask_M1 in zip(v_BHMe, mask_BM1, strict=True)
    ]
    return torch.stack(seen)


def use_combined(x_BND: Tensor) -> bool:
    """True in inference where maps are small."""
    return plain_inference(x_BND) and x_BND.shape[1] ** 2 <= EXPLICIT_FLOAT32


def combined_attention(
    map_of: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    q_BND: Tensor,
    k_BND: Tensor,
    v_BHNe: Tensor,
    mask_BN: Tensor | None = None,
) -> Tensor:
    """`map_of(q_BND, k_BND, mask_BN) @ v_BHNe`, window after window."""
    masks = [None] * len(q_BND) if mask_BN is None else mask_BN.split(1)
    windows = zip(q_BND.split(1), k_BND.split(1), v_BHNe.split(1), masks, strict=True)
    return torch.cat([map_of(q_1ND, k_1ND, mask_1N) @ v_1HNe for q_1ND, k_1ND, v_1HNe, mask_1N in windows])
