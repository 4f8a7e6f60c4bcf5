"""What the fork server of `tests.ranks` has ready."""

import gc
import logging

import torch
import torch._dynamo  # each optimizer asks for it: seconds in every rank
import torch.distributed.checkpoint
import torch.distributed.fsdp
import torch.distributed.tensor

import brainof.pretraining.run

torch.set_num_threads(1)
logging.disable(logging.DEBUG)
gc.freeze()
__all__ = ["brainof", "torch"]
