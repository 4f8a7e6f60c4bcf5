"""What devices can do."""

from __future__ import annotations

import torch

#: Part of the name of a card -> its maker's dense bfloat16 FLOP/s
PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "4090": 165e12,
}


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 FLOP/s of a card, None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for part, value in PEAKS.items() if part in name), None)
