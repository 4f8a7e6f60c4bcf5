"""Gradients of equal norm from several decoders into what they share.

A log spectrum has errors of a size that a reconstructed waveform has not, so with plain sums its gradient is many times
larger, and an optimizer that scales by root mean squares then moves the shared weights for the spectrum alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: Norm of the gradient of one batch after balancing; the size of that of a waveform alone on real EEG
NORM = 0.05


class _EvenGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * (NORM / gradient.norm().clamp(min=1e-12))


def even_gradient(x: Tensor) -> Tensor:
    """x itself, whose gradient is scaled to the norm `NORM`; a gradient of zero stays zero."""
    return _EvenGradient.apply(x)
