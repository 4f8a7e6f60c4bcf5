"""DINT attention (differential-integral), exact and without an N x N matrix for its integral term.

Legend: B windows, N queries, M keys, H heads, d width of a query or key, e width of a value, D = H * e.

With A1, A2 the softmax maps of the two query-key halves and G the map that repeats the mean row of A1,
A = A1 - lam A2 + lam G has rows that sum to one. Because G V is the mean over valid queries of A1 V,

    A V = O1 + lam (mean_q O1 - O2),    O1 = A1 V,  O2 = A2 V.

Sources: Differential Transformer (arXiv:2410.05258), DINT Transformer (arXiv:2501.17486).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import ConfigError
from .norm import RMSNorm, unit

Kind = Literal["dint", "diff", "softmax"]
Kernel = Literal["auto", "explicit", "sdpa"]

#: Values projected and summed at once where one map serves the whole batch: they stay in the cache
CHUNK = 1024


def lambda_init(layer: int) -> float:
    """Starting value of lam in layer 0, 1, ...: 0.8 - 0.6 exp(-0.3 layer)."""
    return 0.8 - 0.6 * math.exp(-0.3 * layer)


def choose_kernel(q: Tensor, k: Tensor, v: Tensor) -> Literal["explicit", "sdpa"]:
    """The faster of the two equal kernels for these shapes.

    On CPU the explicit form wins for short sequences and, in bfloat16, wherever the maps stay small; the fused kernel
    wins elsewhere because it never stores a map. A query and key shared by the whole batch need one map only.
    """
    if q.shape[-4] == k.shape[-4] == 1 < v.shape[-4]:
        return "explicit"
    if q.device.type != "cpu":
        return "sdpa"
    queries, keys = q.shape[-2], k.shape[-2]
    if q.dtype == torch.float32:
        return "explicit" if queries * keys <= 128 * 256 else "sdpa"
    return "explicit" if queries * keys <= 512 * 1024 else "sdpa"


def attention_map(q_BHNd: Tensor, k_BHMd: Tensor, scale: float, key_mask_BM: Tensor | None = None) -> Tensor:
    """Softmax map (B, H, N, M); a row whose keys are all masked is zero, never NaN."""
    logits = (q_BHNd if scale == 1.0 else q_BHNd * scale) @ k_BHMd.mT
    if key_mask_BM is None:
        return logits.softmax(-1)
    mask = key_mask_BM[..., None, None, :]
    return logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(-1) * mask


def softmax_attention(
    q_BHNd: Tensor,
    k_BHMd: Tensor,
    v_BHMe: Tensor,
    scale: float,
    key_mask_BM: Tensor | None = None,
    kernel: Kernel = "auto",
) -> Tensor:
    """softmax(scale q k^T) v, shape (B, H, N, e); B may be 1 in q and k.

    The explicit kernel allows leading axes before B. Both give the same result; "sdpa" pads narrow queries and keys
    with zeros to the value width, because unequal widths silently fall to a path that stores the maps.
    """
    if kernel == "auto":
        kernel = choose_kernel(q_BHNd, k_BHMd, v_BHMe)
    if kernel == "explicit":
        map_BHNM = attention_map(q_BHNd, k_BHMd, scale, key_mask_BM)
        if map_BHNM.shape[-4] == 1 and v_BHMe.shape[-4] > 1:
            if not torch.is_grad_enabled() and not torch.compiler.is_compiling() and map_BHNM.ndim == 4:
                return torch.stack([map_BHNM[0] @ v_HMe for v_HMe in v_BHMe])  # values are read where they lie
            # one map for the whole batch: the batch becomes columns of a single product per head
            return torch.einsum("...hnm,...bhme->...bhne", map_BHNM.squeeze(-4), v_BHMe)
        return map_BHNM @ v_BHMe
    batch = max(q_BHNd.shape[-4], v_BHMe.shape[-4], k_BHMd.shape[-4])
    missing = v_BHMe.shape[-1] - q_BHNd.shape[-1]
    if missing > 0:
        q_BHNd, k_BHMd = F.pad(q_BHNd, (0, missing)), F.pad(k_BHMd, (0, missing))
    q, k, v = (x.expand(batch, *x.shape[-3:]) for x in (q_BHNd, k_BHMd, v_BHMe))
    mask = None if key_mask_BM is None else key_mask_BM[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def query_mean(o_BHNe: Tensor, query_mask_BN: Tensor | None) -> Tensor:
    """Mean over valid queries, shape (B, H, 1, e)."""
    if query_mask_BN is None:
        return o_BHNe.mean(-2, keepdim=True)
    weight = query_mask_BN[:, None, :, None].to(o_BHNe.dtype)
    return (o_BHNe * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp_min(1)


class _Combine(torch.autograd.Function):
    """o1 + lam (mean_q o1 - o2) that keeps nothing but its inputs, in few passes over memory."""

    @staticmethod
    def forward(ctx, o1, o2, lam, query_mask_BN):
        mean = query_mean(o1, query_mask_BN)
        ctx.save_for_backward(o2, mean, lam, query_mask_BN)
        return torch.addcmul(o1, o2, -lam).add_(lam * mean)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        o2, mean, lam, query_mask_BN = ctx.saved_tensors
        total = grad.sum(-2, keepdim=True)
        if query_mask_BN is None:
            grad_o1 = grad + total * (lam / grad.shape[-2])
        else:
            weight = query_mask_BN[:, None, :, None].to(grad.dtype)
            grad_o1 = torch.addcmul(grad, weight, total * (lam / weight.sum(-2, keepdim=True).clamp_min(1)))
        return grad_o1, grad * -lam, (total * mean).sum() - (grad * o2).sum(), None


def combine(o1_BHNe: Tensor, o2_BHNe: Tensor, lam: Tensor, query_mask_BN: Tensor | None = None) -> Tensor:
    """o1 + lam (mean over valid queries of o1 - o2)."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _Combine.apply(o1_BHNe, o2_BHNe, lam, query_mask_BN)
    return o1_BHNe + lam * (query_mean(o1_BHNe, query_mask_BN) - o2_BHNe)


def differential_attention(
    q_2BHNd: Tensor,
    k_2BHMd: Tensor,
    v_BHMe: Tensor,
    lam: Tensor,
    scale: float,
    key_mask_BM: Tensor | None = None,
    query_mask_BN: Tensor | None = None,
    integral: bool = True,
    kernel: Kernel = "auto",
) -> Tensor:
    """(A1 - lam A2 + lam G) v, or (A1 - lam A2) v without the integral term; the result is at least float32."""
    if kernel == "auto":
        kernel = choose_kernel(q_2BHNd, k_2BHMd, v_BHMe)
    if kernel == "explicit":  # both maps in one batched product
        o1, o2 = softmax_attention(q_2BHNd, k_2BHMd, v_BHMe, scale, key_mask_BM, kernel).unbind(0)
    else:
        halves = zip(q_2BHNd, k_2BHMd, strict=True)
        o1, o2 = (softmax_attention(q, k, v_BHMe, scale, key_mask_BM, kernel) for q, k in halves)
    # O1 and O2 are close to each other: their difference loses what bfloat16 has
    o1, o2 = (o if o.dtype == torch.float64 else o.float() for o in (o1, o2))
    return combine(o1, o2, lam, query_mask_BN) if integral else o1 - lam * o2


class Attention(nn.Module):
    """Multi-head attention of one kind, for self- and cross-attention.

    Parameters
    ----------
    dim, heads : int
        D and H. "dint" and "diff" split each query and key head into two halves of width D / (2 H).
    kind : {"dint", "diff", "softmax"}
        The attention; "softmax" is ordinary multi-head attention with as many weights.
    layer : int
        Depth from 0, which sets the starting value of lam.
    out_scale : {"none", "one_minus_lambda_init"}
        Constant on the normalised heads.
    temperature : float
        Above 0, queries and keys have unit length and each head learns its temperature, starting here.
    kernel : {"auto", "explicit", "sdpa"}
        "auto" chooses by shape, dtype and processor.
    residual_gain : float
        Factor on the starting weights of the output map.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kind: Kind = "dint",
        layer: int = 0,
        out_scale: str = "none",
        temperature: float = 0.0,
        kernel: Kernel = "auto",
        residual_gain: float = 1.0,
    ) -> None:
        super().__init__()
        halves = 1 if kind == "softmax" else 2
        if dim % (halves * heads):
            raise ConfigError(
                f"dim {dim} does not split into {heads} heads",
                field="heads",
                fix=f"choose a divisor of {dim // halves}",
            )
        self.heads, self.kind, self.halves, self.kernel = heads, kind, halves, kernel
        self.lambda_init = lambda_init(layer)
        self.out_gain = 1 - self.lambda_init if out_scale == "one_minus_lambda_init" and kind != "softmax" else 1.0
        self.start_temperature, self.residual_gain = temperature, residual_gain
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        width = dim // heads // halves
        self.scale = 1.0 if temperature else width**-0.5
        self.temperature = nn.Parameter(torch.empty(heads)) if temperature else None
        # rows: query 1, key 1, query 2, key 2
        self.lambda_4d = nn.Parameter(torch.empty(4, width)) if halves == 2 else None
        self.norm = RMSNorm(dim // heads) if halves == 2 else None
        self.init_weights()

    def init_weights(self) -> None:
        for linear, gain in ((self.query, 1), (self.key, 1), (self.value, 1), (self.out, self.residual_gain)):
            nn.init.normal_(linear.weight, std=gain * (3 * linear.in_features) ** -0.5)
        if self.temperature is not None:
            nn.init.constant_(self.temperature, self.start_temperature)
        if self.lambda_4d is not None:
            nn.init.normal_(self.lambda_4d, std=0.1)

    def lam(self) -> Tensor:
        """exp(lq1 . lk1) - exp(lq2 . lk2) + lambda_init, a scalar in at least float32."""
        if self.lambda_4d is None:
            raise ConfigError("softmax attention has no lambda", field="attention")
        lam = self.lambda_4d if self.lambda_4d.dtype == torch.float64 else self.lambda_4d.float()
        return (lam[0] * lam[1]).sum().exp() - (lam[2] * lam[3]).sum().exp() + self.lambda_init

    def _split(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, H, N, d), or (2, B, H, N, d) for two halves."""
        if self.halves == 1:
            return x_BND.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x_BND.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def queries(self, x_BND: Tensor) -> Tensor:
        """Projected queries (B, N, D), scaled by the temperature where there is one."""
        q = self.query(x_BND)
        if self.temperature is None:
            return q
        heads = unit(q.unflatten(-1, (self.halves, self.heads, -1)))
        return (heads * self.temperature[:, None].to(q.dtype)).flatten(-3)

    def keys(self, x_BMD: Tensor) -> Tensor:
        """Projected keys (B, M, D), of unit length per head where there is a temperature."""
        k = self.key(x_BMD)
        if self.temperature is None:
            return k
        return unit(k.unflatten(-1, (self.halves * self.heads, -1))).flatten(-2)

    def attend(
        self,
        queries_BND: Tensor,
        keys_BMD: Tensor,
        source_BMD: Tensor,
        key_mask_BM: Tensor | None = None,
        query_mask_BN: Tensor | None = None,
    ) -> Tensor:
        """Outputs (B, N, D) of queries that read the values of a source.

        Masks are True where a token is valid; rows of masked queries hold arbitrary finite values. Queries and keys
        (from `queries` and `keys`) may have B = 1 where the batch shares them.
        """
        v = self.value(source_BMD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k = self._split(queries_BND).to(v.dtype), self._split(keys_BMD).to(v.dtype)
        if self.norm is None:
            o = softmax_attention(q, k, v, self.scale, key_mask_BM, self.kernel)
        else:
            integral = self.kind == "dint"
            o = differential_attention(
                q, k, v, self.lam(), self.scale, key_mask_BM, query_mask_BN, integral, self.kernel
            )
            o = self.norm(o).to(v.dtype)
            o = o if self.out_gain == 1.0 else o * self.out_gain
        return self.out(o.transpose(1, 2).flatten(2))

    def shares_map(self, queries_BND: Tensor, keys_BMD: Tensor, source_BMD: Tensor, masked: bool) -> bool:
        """True where `attend_shared` gives what `attend` does, faster."""
        return (
            self.kind == "softmax"
            and not masked
            and len(queries_BND) == len(keys_BMD) == 1
            and source_BMD.device.type == "cpu"
            and source_BMD.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled("cpu")
            and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
        )

    def attend_shared(
        self, queries_1ND: Tensor, keys_1MD: Tensor, source_BMD: Tensor, norm: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """`attend` to `norm(source)` with one map for the batch, some rows of the source at a time, without gradients.

        Neither normalised nor projected values of a whole window are ever stored.
        """
        q, k = self._split(queries_1ND), self._split(keys_1MD)
        map_HNM = attention_map(q, k, self.scale)[0]
        o_BHNe = source_BMD.new_zeros(len(source_BMD), *q.shape[1:])
        maps = map_HNM.split(CHUNK, -1)
        for o_HNe, source_MD in zip(o_BHNe, source_BMD, strict=True):
            for map_HNm, rows_mD in zip(maps, source_MD.split(CHUNK), strict=True):
                v_Hme = self.value(norm(rows_mD)).unflatten(-1, (self.heads, -1)).transpose(0, 1)
                o_HNe.baddbmm_(map_HNm, v_Hme)
        return self.out(o_BHNe.transpose(1, 2).flatten(2))

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None, causal: bool = False) -> Tensor:
        """Self-attention of the valid tokens.

        Raises
        ------
        ConfigError
            `causal` is asked for: the integral term averages over all queries, the later ones included.
        """
        if causal:
            raise ConfigError(
                "causal attention is not possible: the mean over queries would show each query the later ones",
                field="causal",
                fix="Brain-OF reads whole windows; use causal=False",
            )
        return self.attend(self.queries(x_BND), self.keys(x_BND), x_BND, mask_BN, mask_BN)

    @torch.no_grad()
    def maps(
        self,
        queries_BND: Tensor,
        keys_BMD: Tensor,
        key_mask_BM: Tensor | None = None,
        query_mask_BN: Tensor | None = None,
    ) -> Tensor:
        """The map that `attend` applies to the values, shape (B, H, N, M), for explanation."""
        a = attention_map(self._split(queries_BND), self._split(keys_BMD), self.scale, key_mask_BM)
        if self.halves == 1:
            return a
        a1, a2 = (a if a.dtype == torch.float64 else a.float()).unbind(0)
        lam = self.lam()
        return a1 + lam * (query_mean(a1, query_mask_BN) - a2) if self.kind == "dint" else a1 - lam * a2
