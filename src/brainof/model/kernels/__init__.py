"""Fast forms of parts of the model, each with its measured reason and a float64 test against the plain form."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_inference(x: Tensor) -> bool:
    """True on a CPU in float32 or float64 where nothing records what is done with x: no gradient, compiler or cast."""
    recorded = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not recorded
