"""DINT attention (differential-integral) on latents, and the cross-attention between tokens and latents.

With A1, A2 the softmax maps of the two query-key halves and G the map that repeats the mean row of A1, DINT applies

    A = A1 - lam A2 + lam G

to the values; its rows sum to one. G V is the mean over valid queries of A1 V, so no N x N matrix is made for it:

    A V = O1 + lam (mean_q O1 - O2),    O1 = A1 V,  O2 = A2 V.

Sources: Differential Transformer (arXiv:2410.05258), DINT Transformer (arXiv:2501.17486).

Legend: B windows, N queries, M keys, H heads, d width of a query or key, e width of a value, D = H * e.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from .kernels.attention import (
    combined_attention,
    disjoint,
    fused_attention,
    in_range,
    use_combined,
    use_fused,
    without_parts,
)
from .layers import RMSNorm, init_linear, unit, wide

Kind = Literal["dint", "diff", "softmax"]


def lambda_init(layer: int) -> float:
    """Starting value of lam in layer 0, 1, ...: 0.8 - 0.6 exp(-0.3 layer)."""
    return 0.8 - 0.6 * math.exp(-0.3 * layer)


def attention_map(q_BHNd: Tensor, k_BHMd: Tensor, scale: float, key_mask_BM: Tensor | None = None) -> Tensor:
    """softmax(scale q k^T), (B, H, N, M); a row whose keys are all masked is zero, never NaN."""
    logits = (q_BHNd if scale == 1.0 else q_BHNd * scale) @ k_BHMd.mT
    if key_mask_BM is None:
        return logits.softmax(-1)
    mask = key_mask_BM[:, None, None, :]
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(-1) * mask


def attend(q_BHNd: Tensor, k_BHMd: Tensor, v_BHMe: Tensor, scale: float, key_mask_BM: Tensor | None = None) -> Tensor:
    """softmax(scale q k^T) v, (B, H, N, e); B may be 1 in q and k."""
    if use_fused(q_BHNd, k_BHMd, v_BHMe):
        return fused_attention(q_BHNd, k_BHMd, v_BHMe, scale, key_mask_BM)
    return apply_map(attention_map(q_BHNd, k_BHMd, scale, key_mask_BM), v_BHMe)


def apply_map(map_BHNM: Tensor, v_BHMe: Tensor) -> Tensor:
    """map v, (B, H, N, e); B may be 1 in the map."""
    if map_BHNM.shape[0] == 1 < v_BHMe.shape[0]:  # one map: repeated for the batch, values would be copied
        return torch.stack([map_BHNM[0] @ v_HMe for v_HMe in v_BHMe])
    return map_BHNM @ v_BHMe


def query_mean(x_BHNe: Tensor, query_mask_BN: Tensor | None) -> Tensor:
    """Mean over valid queries, (B, H, 1, e)."""
    if query_mask_BN is None:
        return x_BHNe.mean(-2, keepdim=True)
    weight = query_mask_BN[:, None, :, None].to(x_BHNe.dtype)
    return (x_BHNe * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp_min(1)


def combine(kind: Kind, one: Tensor, two: Tensor, lam: Tensor, query_mask_BN: Tensor | None = None) -> Tensor:
    """DINT: one + lam (mean_q one - two); differential: one - lam two. Of outputs or of maps; at least float32."""
    # both are close to each other: their difference would lose what bfloat16 has
    one, two = wide(one), wide(two)
    return one + lam * (query_mean(one, query_mask_BN) - two) if kind == "dint" else one - lam * two


class Projections(nn.Module):
    """Maps to queries, keys, values and of what is read, for heads in one or two `halves`."""

    def __init__(self, dim: int, heads: int, halves: int, residual_gain: float) -> None:
        super().__init__()
        self.heads, self.residual_gain = heads, residual_gain
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def init_weights(self) -> None:
        for linear in (self.query, self.key, self.value):
            init_linear(linear)
        init_linear(self.out, self.residual_gain)


class Attention(Projections):
    """Multi-head self-attention; "dint" and "diff" split each query and key head into two halves of width D / (2 H).

    "softmax" is ordinary multi-head attention with as many weights. `layer` is the depth from 0, which sets the
    starting value of lam; `residual_gain` a factor on the starting weights of the output map.
    """

    def __init__(self, dim: int, heads: int, kind: Kind = "dint", layer: int = 0, residual_gain: float = 1.0) -> None:
        halves = 1 if kind == "softmax" else 2
        super().__init__(dim, heads, halves, residual_gain)
        self.kind, self.lambda_init = kind, lambda_init(layer)
        width = dim // heads // halves
        self.scale = width**-0.5
        # rows: query 1, key 1, query 2, key 2
        self.lambda_4d = nn.Parameter(torch.empty(4, width)) if halves == 2 else None
        self.norm = RMSNorm(dim // heads) if halves == 2 else None
        self.init_weights()

    def init_weights(self) -> None:
        super().init_weights()
        if self.lambda_4d is not None:
            nn.init.normal_(self.lambda_4d, std=0.1)

    def lam(self) -> Tensor:
        """exp(lq1 . lk1) - exp(lq2 . lk2) + lambda_init, a scalar in at least float32; of "dint" and "diff"."""
        assert self.lambda_4d is not None
        lam = wide(self.lambda_4d)
        return (lam[0] * lam[1]).sum().exp() - (lam[2] * lam[3]).sum().exp() + self.lambda_init

    def _halves(self, q_BND: Tensor, k_BND: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Queries and keys (B, H, N, d) of each half; of all in "softmax" attention."""
        split = (1 if self.norm is None else 2, self.heads, -1)
        halves = (x_BND.unflatten(-1, split).permute(2, 0, 3, 1, 4) for x_BND in (q_BND, k_BND))
        return list(zip(*halves, strict=True))

    def _combined(self, halves: list[Tensor], mask_BN: Tensor | None) -> Tensor:
        return halves[0] if self.kind == "softmax" else combine(self.kind, halves[0], halves[1], self.lam(), mask_BN)

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """Outputs (B, N, D); the mask is True where a token is valid, rows of others hold arbitrary finite values.

        There is no causal form: the integral term averages over all queries, the later ones included.
        """
        q_BND, k_BND, v_BHNe = self.query(x_BND), self.key(x_BND), split_heads(self.value(x_BND), self.heads)
        if self.kind != "softmax" and use_combined(x_BND, mask_BN):
            q_BGNd, k_BGNd = (split_heads(x, 2 * self.heads) for x in (q_BND, k_BND))
            lam = float(self.lam())
            o_BHNe = combined_attention(q_BGNd, k_BGNd, v_BHNe, self.scale, lam, self.kind == "dint")
        else:
            read = [attend(q, k, v_BHNe, self.scale, mask_BN) for q, k in self._halves(q_BND, k_BND)]
            o_BHNe = self._combined(read, mask_BN)
        if self.norm is not None:
            o_BHNe = self.norm(o_BHNe)
        return self.out(merge_heads(o_BHNe).to(v_BHNe.dtype))

    @torch.no_grad()
    def half_maps(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> list[Tensor]:
        """The softmax maps A1 and A2 that "dint" and "diff" combine, (B, H, N, N) each; one of "softmax" attention."""
        halves = self._halves(self.query(x_BND), self.key(x_BND))
        return [attention_map(q_BHNd, k_BHNd, self.scale, mask_BN) for q_BHNd, k_BHNd in halves]

    @torch.no_grad()
    def maps(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """The map that `forward` applies to the values, (B, H, N, N), for explanation."""
        return self._combined(self.half_maps(x_BND, mask_BN), mask_BN)


class CrossAttention(Projections):
    """Multi-head attention whose queries and keys have unit length, with a learned temperature per head.

    Queries and keys are projected apart from the rest (`queries`, `keys`), because a batch may share them (B = 1).
    `residual_gain` is a factor on the starting weights of the output map; with `contrast`, what all queries read alike
    goes to the first of them (see `contrast`).
    """

    def __init__(
        self, dim: int, heads: int, temperature: float, residual_gain: float = 1.0, contrast: bool = False
    ) -> None:
        super().__init__(dim, heads, 1, residual_gain)
        self.start_temperature, self.contrast = temperature, contrast
        self.temperature = nn.Parameter(torch.empty(heads))
        self.init_weights()

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.constant_(self.temperature, self.start_temperature)

    def queries(self, x_BND: Tensor) -> Tensor:
        """Projected queries (B, N, D) of length one per head, times the temperature."""
        q_BNHd = unit(self.query(x_BND).unflatten(-1, (self.heads, -1)))
        return (q_BNHd * self.temperature[:, None].to(q_BNHd.dtype)).flatten(-2)

    def keys(self, x_BMD: Tensor) -> Tensor:
        """Projected keys (B, M, D) of length one per head."""
        return unit(self.key(x_BMD).unflatten(-1, (self.heads, -1))).flatten(-2)

    def forward(
        self, queries_BND: Tensor, keys_BMD: Tensor, source_BMD: Tensor, key_mask_BM: Tensor | None = None
    ) -> Tensor:
        """Outputs (B, N, D) of queries that read the values of a source; the mask is True where a token is valid."""
        return self.read(queries_BND, keys_BMD, self.values(source_BMD), key_mask_BM)

    def values(self, source_BMD: Tensor) -> Tensor:
        """Projected values (B, H, M, e)."""
        return split_heads(self.value(source_BMD), self.heads)

    def read(self, queries_BND: Tensor, keys_BMD: Tensor, v_BHMe: Tensor, key_mask_BM: Tensor | None = None) -> Tensor:
        """As `forward`, of projected values."""
        q_BHNe, k_BHMe = (split_heads(x, self.heads).to(v_BHMe.dtype) for x in (queries_BND, keys_BMD))
        return self.written(merge_heads(attend(q_BHNe, k_BHMe, v_BHMe, 1.0, key_mask_BM)))

    def read_without(
        self,
        queries_BND: Tensor,
        keys_BMD: Tensor,
        v_BHMe: Tensor,
        parts: Sequence[Tensor],
        key_mask_BM: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """As `read`, without the keys of one part (their numbers) after the other."""
        if len(queries_BND) == len(keys_BMD) == 1 and disjoint(parts):
            q_1HNe, k_1HMe = (split_heads(x, self.heads).to(v_BHMe.dtype) for x in (queries_BND, keys_BMD))
            if in_range(q_1HNe, k_1HMe):
                for read_BHNe in without_parts(q_1HNe, k_1HMe, v_BHMe, parts, key_mask_BM):
                    yield self.written(merge_heads(read_BHNe))
                return
        for part in parts:
            yield self.read(queries_BND, keys_BMD, v_BHMe, mask_without(part, v_BHMe.shape[2], key_mask_BM))

    def written(self, read_BND: Tensor) -> Tensor:
        """Outputs (B, N, D) from what all queries have read."""
        return self.out(contrast(read_BND) if self.contrast else read_BND)

    @torch.no_grad()
    def maps(self, queries_BND: Tensor, keys_BMD: Tensor, key_mask_BM: Tensor | None = None) -> Tensor:
        """The map that `forward` applies to the values, (B, H, N, M), for explanation."""
        q_BHNe, k_BHMe = split_heads(queries_BND, self.heads), split_heads(keys_BMD, self.heads)
        return attention_map(q_BHNe, k_BHMe, 1.0, key_mask_BM)


def mask_without(part: Tensor, n_tokens: int, mask_BN: Tensor | None = None) -> Tensor:
    """The mask (B, N) with the tokens of a part (their numbers) masked too; B is 1 without a mask."""
    seen_BN = torch.ones(1, n_tokens, dtype=torch.bool, device=part.device)
    seen_BN[:, part] = False
    return seen_BN if mask_BN is None else seen_BN & mask_BN


def contrast(x_BND: Tensor) -> Tensor:
    """The mean over queries in place of the first, and of the others what they differ from it by.

    Softmax weights are positive, so that queries share most of what they read and differ in little.
    """
    mean_B1D = x_BND.mean(-2, keepdim=True)
    return torch.cat([mean_B1D, x_BND[:, 1:] - mean_B1D], 1)


def split_heads(x_BND: Tensor, heads: int) -> Tensor:
    """(B, N, D) -> (B, H, N, e)."""
    return x_BND.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x_BHNe: Tensor) -> Tensor:
    """(B, H, N, e) -> (B, N, D)."""
    return x_BHNe.transpose(1, 2).flatten(2)
