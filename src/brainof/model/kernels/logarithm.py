"""The logarithm of positive definite matrices by one batch of inverses, in inference.

Reason: x / (1 + t x) = (1 - 1 / (1 + t x)) / t needs no products, and takes 0.22 of the time of the
plain form for 32 x 32 (0.4 instead of 1.9 ms, where a window of 64 channels x 10 s takes 46).

Legend: B matrices, P points, K rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def logarithm_by_inverses(matrix_BKK: Tensor, points: list[float], weights: list[float]) -> Tensor:
    """As `covariance.log_positive`; `points` and `weights` are those of the quadrature from 0 to 1."""
    one_KK = torch.eye(matrix_BKK.shape[-1], dtype=matrix_BKK.dtype, device=matrix_BKK.device)
    point_P111 = matrix_BKK.new_tensor(points)[:, None, None, None]
    inverse_PBKK = torch.linalg.inv_ex(one_KK + point_P111 * (matrix_BKK - one_KK)).inverse
    factor_P = matrix_BKK.new_tensor([w / t for w, t in zip(weights, points, strict=True)])
    return factor_P.sum() * one_KK - torch.tensordot(factor_P, inverse_PBKK, 1)
