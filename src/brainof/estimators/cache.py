"""Features of a frozen backbone, computed once per window: cross-validation meets every window again in other folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from ..errors import StorageError
from ..inference.batches import pooled
from ..inference.examples import Examples, Subset


def stored(key: str, value: np.ndarray) -> np.ndarray:
    """What joblib keeps under `key` (the value is not part of it)."""
    return value


def cached_features(
    model: nn.Module, digest: str, examples: Examples, pool: str, batch_size: int, memory: Any = None
) -> np.ndarray:
    """Pooled latents (n, F) of all examples; those in `memory` (None, path or joblib.Memory) are read, others are kept.

    `digest` is that of the model. It keeps window by window: folds differ, windows do not.
    """
    if memory is None:
        return pooled(model, examples, pool, batch_size)
    from sklearn.utils.validation import check_memory

    try:
        store = check_memory(memory).cache(stored, ignore=["value"], verbose=0)
    except OSError as error:
        fix = "give a folder you may write to"
        raise StorageError(f"cannot keep features ({error.strerror})", file=memory, field="memory", fix=fix) from None
    keys = [f"{digest} {pool} {examples.key(row)}" for row in range(len(examples))]
    missing = np.array([row for row, key in enumerate(keys) if not store.check_call_in_cache(key, None)], np.int64)
    if len(missing):
        computed = pooled(model, Subset(examples, missing), pool, batch_size)
        for row, value in zip(missing, computed, strict=True):
            store(keys[row], value)
    return np.stack([store(key, None) for key in keys])
