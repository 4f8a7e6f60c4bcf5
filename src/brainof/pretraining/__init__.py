"""Pretraining: MTFM, masking, objective, the training loop, checkpoints."""

from .config import PretrainConfig
from .recipes import find_config
from .run import pretrain
from .weights import release_checkpoint

__all__ = ["PretrainConfig", "find_config", "pretrain", "release_checkpoint"]
