"""Softmax attention that never stores a map, and DINT attention that stores one for both halves.

Reason of the fused form: faster than the explicit form on GPUs and, on CPU, for long sequences (float32 from 128 x 256,
forward and backward: 1.6 to 3.8 times); below, and in bfloat16 up to 512 x 1024, the explicit form is faster (0.2 to
0.9 times).

Reason of the combined form: it halves the products with the values, and the maps of a few windows stay in the cache:
16 x 64 x 128 in 0.7 of the time of one window at a time (float32, one thread).

Reason of the form without parts: what all other parts are read with is added up by halves, so that K parts cost log2 K
times one reading instead of K: 64 parts of 16 windows of 4 heads x 64 x 1024 in 0.19 of the time, one thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import plain_inference

#: Queries x keys up to which the explicit form is faster on CPU
EXPLICIT_FLOAT32, EXPLICIT_BFLOAT16 = 128 * 256, 512 * 1024

#: Values of maps that stay in the cache
CACHED = 2**17


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


def in_range(q_BHNd: Tensor, k_BHMd: Tensor) -> bool:
    """True where no weight is too small for its type beside the largest: keys may be left out afterwards."""
    largest = q_BHNd.norm(dim=-1).max() * k_BHMd.norm(dim=-1).max()
    return bool(2 * largest < -math.log(torch.finfo(q_BHNd.dtype).tiny))


def disjoint(parts: Sequence[Tensor]) -> bool:
    """True where no number is in two of the parts."""
    numbers = torch.cat(list(parts))
    return len(numbers) == len(numbers.unique())


def without_parts(
    q_1HNd: Tensor, k_1HMd: Tensor, v_BHMe: Tensor, parts: Sequence[Tensor], key_mask_BM: Tensor | None = None
) -> Iterator[Tensor]:
    """softmax(q k^T) v, (B, H, N, e), without the keys of one part (their numbers) after the other; parts are disjoint.

    Only positive weights are added, never subtracted: exact to rounding however much of the weight a part has, for
    queries and keys that are `in_range`.
    """
    ends = torch.tensor([len(part) for part in parts]).cumsum(0).tolist()
    mask_M = torch.ones(v_BHMe.shape[2], dtype=torch.bool, device=v_BHMe.device)
    mask_M[torch.cat(list(parts))] = False
    order_M = torch.cat([*parts, mask_M.nonzero()[:, 0]])  # those of no part last
    weights_HNM = (q_1HNd[0] @ k_1HMd[0].mT)[..., order_M]
    weights_HNM = (weights_HNM - weights_HNM.amax(-1, keepdim=True)).exp_()
    v_BHMe = v_BHMe[:, :, order_M]
    counts_BM1 = v_BHMe.new_ones(1, len(order_M), 1)
    if key_mask_BM is not None:
        counts_BM1 = key_mask_BM[:, order_M, None].to(v_BHMe.dtype)
        v_BHMe = v_BHMe * counts_BM1[:, None]

    def read(first: int, end: int | None) -> tuple[Tensor, Tensor]:
        """Weighted values and weights of a stretch of keys, summed."""
        own_HNK = weights_HNM[..., first:end]
        made = torch.stack([own_HNK @ v_HKe for v_HKe in v_BHMe[:, :, first:end]])
        return made, torch.stack([own_HNK @ counts_K1 for counts_K1 in counts_BM1[:, first:end]])

    def without(others: tuple[Tensor, Tensor], first: int, last: int) -> Iterator[Tensor]:
        """Each of the parts from first up to last left out of them and of the others."""
        if last - first == 1:
            yield others[0] / others[1].clamp_min(torch.finfo(v_BHMe.dtype).tiny)
            return
        middle = (first + last) // 2
        edges = [starts[number] for number in (first, middle, last)]
        for own, (start, end) in (((first, middle), edges[1:]), ((middle, last), edges[:2])):
            made = read(start, end)
            yield from without((others[0] + made[0], others[1] + made[1]), *own)

    starts = [0, *ends]
    yield from without(read(starts[-1], None), 0, len(parts))


def use_combined(x_BND: Tensor, mask_BN: Tensor | None = None) -> bool:
    """True in inference where maps are small."""
    return mask_BN is None and plain_inference(x_BND) and x_BND.shape[1] ** 2 <= EXPLICIT_FLOAT32


def combined_attention(
    q_BGNd: Tensor, k_BGNd: Tensor, v_BHNe: Tensor, scale: float, lam: float, integral: bool
) -> Tensor:
    """(A1 - lam A2) v, with lam times the mean row of A1 added to the map (`integral`); A1 and A2 are 2 H = G maps."""
    together = max(1, CACHED // (q_BGNd.shape[1] * q_BGNd.shape[2] ** 2))
    made = []
    windows = zip((q_BGNd * scale).split(together), k_BGNd.split(together), v_BHNe.split(together), strict=True)
    for q, k, v in windows:
        one, two = (q @ k.mT).softmax(-1).chunk(2, 1)
        combined = one.sub(two, alpha=lam)
        if integral:
            combined.add_(one.mean(-2, keepdim=True), alpha=lam)
        made.append(combined @ v)
    return torch.cat(made)
