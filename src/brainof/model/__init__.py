"""The model: tokens, ARNESS, attention, experts. It knows nothing of devices, files or training."""

from __future__ import annotations

from .balance import update_balance
from .brainof import BrainOF
from .config import BrainOFConfig
from .pooling import POOLS, pool
from .presets import PRESETS, count, describe, preset
from .tokens import Tokens, log_spectrum

__all__ = [
    "POOLS",
    "PRESETS",
    "BrainOF",
    "BrainOFConfig",
    "Tokens",
    "count",
    "describe",
    "log_spectrum",
    "pool",
    "preset",
    "update_balance",
]
