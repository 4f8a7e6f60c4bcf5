"""What modules of a model make of windows, looked at in passing.

Legend: N windows, B windows of a batch, J modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..inference.batches import batches
from ..inference.examples import Examples
from ..model import BrainOF
from ..utils.modules import evaluating, to_device


@contextmanager
def hooked(modules: Iterable[nn.Module], look: Callable[[Any, tuple, Any], None]) -> Iterator[None]:
    """`look(module, inputs, output)` after each call of the modules."""
    handles = [module.register_forward_hook(look) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def looked_at(
    model: BrainOF, examples: Examples, modules: Iterable[nn.Module], look: Callable[[Any, tuple, Any], Tensor]
) -> np.ndarray:
    """(N, J, ...): what `look(module, inputs, output)`, (B, ...), finds in each module for every window."""
    kept: list[Tensor] = []
    parts, order = [], []
    with evaluating(model), hooked(modules, lambda *call: kept.append(look(*call))):
        for rows in batches(examples, np.arange(len(examples)), 32):
            kept.clear()
            model.forward_features(to_device(examples.batch(rows), model))
            parts.append(np.stack([each.cpu().numpy() for each in kept], axis=1))
            order.append(rows)
    return np.concatenate(parts)[np.argsort(np.concatenate(order))]
