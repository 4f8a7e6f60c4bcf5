"""Gradients of equal norm from several decoders into the latents they read.

A log spectrum has errors of a size that a reconstructed waveform has not, so with plain sums its gradient is many times
larger, and an optimizer that scales by root mean squares then moves the shared weights for the spectrum alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: Norm of the gradient of one window after balancing; the size of that of a waveform alone on real EEG
NORM = 0.02


class _EvenGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        norm_B = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp(min=1e-12)
        return gradient * (NORM / norm_B).view(-1, *[1] * (gradient.ndim - 1))


def even_gradient(latents_BLD: Tensor) -> Tensor:
    """The latents themselves, whose gradient is scaled to the norm `NORM` in each window; zero stays zero.

    Windows do not see each other, so that a batch may be split, shared by threads or accumulated as it pleases.
    """
    return _EvenGradient.apply(latents_BLD)
