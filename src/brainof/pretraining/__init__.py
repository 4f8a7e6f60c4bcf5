"""Pretraining: MTFM, masking, objective, the training loop, checkpoints."""

from .config import PretrainConfig
from .recipes import find_config
from .run import pretrain

__all__ = ["PretrainConfig", "find_config", "pretrain"]
