"""Examples in batches of one kind and bounded size, and their pooled latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contract import InputContract
from ..errors import ConfigError
from ..model import BrainOF
from ..utils.modules import device_of, evaluating, to_device
from ..utils.threads import side_by_side
from ..utils.values import ceil_div
from .examples import Examples

#: Batches under way hold no more tokens than this, so that 306 channels need no more memory than 19
MAX_TOKENS = 65_536

#: Batches encoded at once at most
MAX_THREADS = 8


def batches(
    examples: Examples, rows: np.ndarray, batch_size: int, rng: np.random.Generator | None = None, threads: int = 1
) -> Iterator[np.ndarray]:
    """Rows in batches of one kind and bounded cost; in random order with `rng`, in row order without.

    Padding never depends on the neighbours, as all examples of a kind are equally long in patches. `threads` batches
    at once hold no more than MAX_TOKENS, and few examples are shared out evenly.
    """
    found = []
    for kind in np.unique(examples.kinds[rows]):
        own = rows[examples.kinds[rows] == kind]
        if rng is not None:
            own = rng.permutation(own)
        tokens = max(1, int(examples.costs[own[0]]))
        size = max(1, min(batch_size, MAX_TOKENS // threads // tokens, ceil_div(len(own), threads)))
        found += [own[start : start + size] for start in range(0, len(own), size)]
    for number in range(len(found)) if rng is None else rng.permutation(len(found)):
        yield found[number]


def embedded(model: Any, batch: Any, pool: str, **shared: Any) -> Tensor:
    """Pooled latents (B, F) of a batch of whatever the model reads; one modality may have a pooling of its own."""
    return model.pool(model.forward_features(batch, **shared), pool, getattr(batch, "modality", ""))


def pooled(model: Any, examples: Examples, pool: str = "auto", batch_size: int = 32) -> np.ndarray:
    """Pooled latents (n, F) of all examples, in eval mode and without gradients; at least float32.

    On a CPU as many batches of a `BrainOF` are encoded side by side as operators have threads
    (`torch.set_num_threads`), at most `MAX_THREADS`; meanwhile operators use what is left of them. The result depends
    on that and on `batch_size` only in the last bits. Examples of several modalities have features of the longest,
    with zeros behind those of others.
    """
    if batch_size < 1:
        raise ConfigError(f"{batch_size}", field="batch_size", fix="give 1 or more")
    if not len(examples):
        raise ConfigError("no examples", field="examples")
    # modules of others may keep state in their forward pass, and autocast belongs to the caller's thread
    alone = not isinstance(model, BrainOF) or device_of(model).type != "cpu" or torch.is_autocast_enabled("cpu")
    threads = 1 if alone else min(torch.get_num_threads(), MAX_THREADS)
    parts = list(batches(examples, np.arange(len(examples)), batch_size, threads=threads))

    layouts: dict[tuple[int, int], dict[str, Any]] = {}

    def job(rows: np.ndarray) -> tuple[Any, dict[str, Any]]:
        """A batch, which nothing else holds, so that no two of them are in memory for one thread."""
        batch = to_device(examples.batch(rows), model)
        # identities of the sensors, once for all batches of a kind, if equally long on the grid of the model
        kind = int(examples.kinds[rows[0]]), int(batch.n_times_B.max()) if hasattr(batch, "n_times_B") else 0
        if kind not in layouts:
            layouts.clear()
            layouts[kind] = {"layout": model.layout(batch)} if hasattr(model, "layout") else {}
        return batch, layouts[kind]

    def encode(job: tuple[Any, dict[str, Any]]) -> np.ndarray:
        with torch.inference_mode():  # a thread's own
            found = embedded(model, job[0], pool, **job[1])
            return found.to(torch.promote_types(found.dtype, torch.float32)).cpu().numpy()

    values: np.ndarray | None = None
    with evaluating(model):
        for rows, found in zip(parts, side_by_side(encode, map(job, parts), min(threads, len(parts))), strict=True):
            if values is None:
                values = np.zeros((len(examples), found.shape[1]), found.dtype)
            if found.shape[1] > values.shape[1]:
                values = np.pad(values, ((0, 0), (0, found.shape[1] - values.shape[1])))
            values[rows, : found.shape[1]] = found
    assert values is not None
    return values


def patch_of(model: Any, contract: InputContract | None = None) -> int:
    """Samples per patch: the contract's, or the model's own; a ConfigError where neither says it."""
    patch = contract.patch if contract is not None else getattr(getattr(model, "config", None), "patch", None)
    if patch is None:
        problem = f"is not known of {type(model).__name__}"
        raise ConfigError(problem, field="patch", fix="give a contract, or set model.config.patch")
    return int(patch)
