"""Models on disk and on the Hugging Face Hub: weights, configuration, InputContract and model card, without pickle."""

from ..model import BrainOF
from .folder import save_release
from .hub import push_to_hub
from .load import PRETRAINED, describe, load
from .publish import save_pretrained

__all__ = ["PRETRAINED", "BrainOF", "describe", "load", "push_to_hub", "save_pretrained", "save_release"]
