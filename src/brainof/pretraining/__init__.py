"""Pretraining: MTFM, masks, losses, optimizer, loop, checkpoints."""

from .config import PretrainConfig
from .loop import pretrain
from .recipes import find_config

__all__ = ["PretrainConfig", "find_config", "pretrain"]
