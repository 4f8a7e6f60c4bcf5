"""The model: tokens, ARNESS, attention, experts. It knows nothing of devices, files or training."""

from __future__ import annotations

from .backbone import BackboneConfig
from .balance import balance_metrics, move_biases
from .brainof import BrainOF, Layout
from .config import BrainOFConfig
from .decoder import DecoderConfig
from .pooling import POOLS, pool
from .presets import PRESETS, count, describe, preset
from .sampler import SamplerConfig
from .tokens import TokenConfig, Tokens, log_spectrum

__all__ = [
    "POOLS",
    "PRESETS",
    "BackboneConfig",
    "BrainOF",
    "BrainOFConfig",
    "DecoderConfig",
    "Layout",
    "SamplerConfig",
    "TokenConfig",
    "Tokens",
    "balance_metrics",
    "count",
    "describe",
    "log_spectrum",
    "move_biases",
    "pool",
    "preset",
]
