"""The backbone that an estimator was given: in memory, or by name."""

from __future__ import annotations

import copy
import logging
from typing import Any

from ..release import load

log = logging.getLogger(__name__)


def load_model(model: Any, random_state: Any = None):
    """Backbone and contract of a module, (module, contract), a preset, a folder or a Hub id; CheckpointError if no."""
    if isinstance(model, tuple):
        return copy.deepcopy(model[0]).eval(), model[1]
    if hasattr(model, "forward_features"):
        return copy.deepcopy(model).eval(), getattr(model, "contract", None)
    seed = random_state if isinstance(random_state, int) else 0
    loaded, contract = load(model, seed=seed)
    if contract is None:
        log.warning("%s is a preset: its weights are RANDOM", model)
    return loaded, contract
