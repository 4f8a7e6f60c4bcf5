"""Gradients of equal norm from several decoders into the latents they read.

Spectral errors are much larger than waveform errors. With plain sums the optimizer, which scales by root mean squares,
would move the shared weights for the spectrum alone.

Legend: B windows, L latents, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: Norm of the gradient of an optimizer step in which one term of weight 1 sees the same gradient in every window
TARGET_NORM = 0.02


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: float) -> Tensor:
        ctx.norm = norm
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        norm_B = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp(min=1e-12)
        return gradient * (ctx.norm / norm_B).view(-1, *[1] * (gradient.ndim - 1)), None


def normalise_gradient(latents_BLD: Tensor, fraction: float) -> Tensor:
    """The latents themselves, whose gradient has the norm `TARGET_NORM * fraction` in each window; zero stays zero.

    Windows do not see each other. With `fraction` = weight of the loss term / windows of the optimizer step, a step has
    the same gradient however its windows are split into batches, threads or ranks whose gradients are *added*.
    """
    return _Normalised.apply(latents_BLD, TARGET_NORM * fraction)
