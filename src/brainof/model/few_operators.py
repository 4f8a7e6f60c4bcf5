"""Differential self-attention of short sequences in few operators and few passes over memory, with its gradient.

At 64 to 128 latents a product takes as long as calling it: what the composed form spends is mostly copies of heads,
casts, and the overhead of 150 operators.

Legend: B windows, N tokens, H heads, d width of a query or key, e = 2 d width of a value, D = H e, G = B H.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32


def _parts(qkv_BN3D: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views of the queries and keys (2, B, H, N, d) and values (B, H, N, e) in their projections side by side."""
    q, k, v = qkv_BN3D.chunk(3, -1)
    q, k = (x.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4) for x in (q, k))
    return q, k, v.unflatten(-1, (heads, -1)).transpose(1, 2)


class _Normalised(torch.autograd.Function):
    """RMS norm over e of o1 + lam (mean_q o1 - o2), with o1 and o2 from maps of the two halves."""

    @staticmethod
    def forward(ctx, qkv_BN3D, lam, weight_e, heads, scale, eps, integral):
        B, N, width = qkv_BN3D.shape
        q, k, v = _parts(qkv_BN3D, heads)
        q_2GNd = torch.mul(q, scale, out=q.new_empty(q.shape)).view(-1, N, q.shape[-1])
        k_2GNd = k.new_empty(k.shape).copy_(k).view(q_2GNd.shape)
        v_GNe = v.new_empty(v.shape).copy_(v).view(-1, N, v.shape[-1])
        map_2GNN = torch.bmm(q_2GNd, k_2GNd.mT).softmax(-1)
        o_2GNe = v_GNe.new_empty(2, *v_GNe.shape)
        for map_GNN, o_GNe in zip(map_2GNN.chunk(2), o_2GNe.unbind(), strict=True):
            torch.bmm(map_GNN, v_GNe, out=o_GNe)
        # o1 and o2 are close to each other: their difference loses what bfloat16 has
        wide_2GNe = o_2GNe.to(_wide(o_2GNe.dtype))
        factor = float(lam)
        z_GNe = torch.sub(wide_2GNe[0], wide_2GNe[1], alpha=factor)
        mean_G1e = None
        if integral:
            mean_G1e = wide_2GNe[0].mean(1, keepdim=True)
            z_GNe.add_(mean_G1e, alpha=factor)
        inverse_GN1 = torch.linalg.vector_norm(z_GNe, dim=-1, keepdim=True).square_()
        inverse_GN1.div_(z_GNe.shape[-1]).add_(eps).rsqrt_()
        out_BNHe = v_GNe.new_empty(B, N, heads, v_GNe.shape[-1])
        scaled = (z_GNe * inverse_GN1).view(B, heads, N, -1)
        torch.mul(scaled, weight_e.to(scaled.dtype), out=out_BNHe.transpose(1, 2))
        ctx.save_for_backward(q_2GNd, k_2GNd, v_GNe, map_2GNN, o_2GNe, mean_G1e, z_GNe, inverse_GN1, weight_e)
        ctx.factor, ctx.scale, ctx.width = factor, scale, width
        return out_BNHe.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_BND):
        q_2GNd, k_2GNd, v_GNe, map_2GNN, o_2GNe, mean_G1e, z_GNe, inverse_GN1, weight_e = ctx.saved_tensors
        (B, N, _), (G, _, e), lam = grad_BND.shape, v_GNe.shape, ctx.factor
        heads = G // B
        grad = z_GNe.new_empty(B, heads, N, e).copy_(grad_BND.unflatten(-1, (heads, e)).transpose(1, 2)).view(G, N, e)
        # the norm
        rows = (grad * z_GNe).flatten(0, 1)
        grad_weight = rows.t() @ inverse_GN1.flatten()
        weight = weight_e.to(rows.dtype)
        along = (rows @ weight).view_as(inverse_GN1).mul_(inverse_GN1.square()).div_(-e)
        grad = torch.addcmul(grad.mul_(weight), z_GNe, along).mul_(inverse_GN1)
        # the combination
        grad_lam = -(grad * o_2GNe[1]).sum()
        grad_2GNe = torch.empty_like(o_2GNe)
        torch.mul(grad, -lam, out=grad_2GNe[1])
        if mean_G1e is not None:
            total_G1e = grad.sum(1, keepdim=True)
            grad_lam += (total_G1e * mean_G1e).sum()
            torch.add(grad, total_G1e, alpha=lam / N, out=grad_2GNe[0])
        else:
            grad_2GNe[0].copy_(grad)
        # the maps
        map1, map2 = map_2GNN.chunk(2)
        grad_v = torch.baddbmm(torch.bmm(map1.mT, grad_2GNe[0]), map2.mT, grad_2GNe[1])
        grad_map = torch.empty_like(map_2GNN)
        for half, out in zip(grad_2GNe.unbind(), grad_map.chunk(2), strict=True):
            torch.bmm(half, v_GNe.mT, out=out)
        grad_map = torch.ops.aten._softmax_backward_data(grad_map, map_2GNN, -1, map_2GNN.dtype)
        # the projections, each gradient into its place
        grad_qkv = grad_v.new_empty(B, N, ctx.width)
        q, k, v = _parts(grad_qkv, heads)
        torch.mul(torch.bmm(grad_map, k_2GNd).view(q.shape), ctx.scale, out=q)
        k.copy_(torch.bmm(grad_map.mT, q_2GNd).view(k.shape))
        v.copy_(grad_v.view(v.shape))
        return grad_qkv, grad_lam, grad_weight, None, None, None, None


def normalised_attention(
    qkv_BN3D: Tensor, lam: Tensor, weight_e: Tensor, heads: int, scale: float, eps: float, integral: bool
) -> Tensor:
    """Heads (B, N, D) of differential self-attention, each RMS-normalised, from projections side by side.

    Queries and keys are two halves of H heads of width d each, values H heads of width e; see `attention` for the
    equations. Without masks.
    """
    return _Normalised.apply(qkv_BN3D, lam, weight_e, heads, scale, eps, integral)
