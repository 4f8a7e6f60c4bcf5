"""Which experts the tokens of each modality and dataset are sent to, layer by layer, beside two nulls.

Legend: W windows, G groups (datasets of one modality), J layers, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy

from ..errors import ConfigError
from ..model import BrainOF
from ..model.experts import Experts
from ..stats.nulls import p_value
from ..utils.values import finite
from .effects import ALPHA, judged
from .hooks import looked_at
from .source import Explained, untrained


@dataclass(frozen=True, eq=False)
class ExpertUsage:
    """Shares of the experts, for each group ("dataset (modality)") and layer."""

    #: (G, J, E): fraction of the tokens of a group that each expert of a layer took; sums to 1 over experts
    share: np.ndarray
    groups: tuple[str, ...]
    layers: tuple[int, ...]
    #: (J,): bits that a choice of experts tells about the group, mutual information; the largest with random weights
    information: np.ndarray
    untrained: np.ndarray | None = None
    #: (J,): 95th percentile with groups permuted over windows, and p values corrected over layers
    labels_95: np.ndarray | None = None
    p_labels: np.ndarray | None = None

    @property
    def verdict(self) -> str:
        """One sentence for the figure."""
        if self.p_labels is None:
            return "one group only: usage cannot differ"
        by_labels = bool((self.p_labels < ALPHA).any())
        more = self.untrained is None or self.information.mean() > self.untrained.mean()
        lost = [name for name, won in (("permuted groups", by_labels), ("random weights", more)) if not won]
        bits = f"{self.information.mean():.3f} bit per choice"
        if self.untrained is not None:
            bits += f", random weights {self.untrained.mean():.3f}"
        return judged(lost, bits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return finite({"kind": "experts", **vars(self), "verdict": self.verdict}, 5)


def expert_usage(
    found: Sequence[Explained],
    model: BrainOF,
    *,
    n_untrained: int = 2,
    n_permutations: int = 200,
    random_state: int = 0,
) -> ExpertUsage:
    """Which experts the windows of each dataset and modality use; a ConfigError where the model has none."""
    counts_WJE, layers = _counts(model, found)
    groups = tuple(f"{each.name} ({each.modality})" for each in found)
    owner_W = np.repeat(np.arange(len(found)), [len(each) for each in found])
    share_GJE = _shares(counts_WJE, owner_W)
    observed_J = mutual_information(share_GJE)
    if len(found) < 2:
        return ExpertUsage(share_GJE, groups, layers, observed_J)
    own_WJE = counts_WJE / counts_WJE.sum(-1, keepdims=True)
    rng = np.random.default_rng(random_state)
    shuffled = (rng.permutation(owner_W) for _ in range(n_permutations))
    null_PJ = np.stack([mutual_information(_shares(own_WJE, owner)) for owner in shuffled])
    random = [mutual_information(_shares(_counts(null, found)[0], owner_W)) for null in untrained(model, n_untrained)]
    other = np.max(random, axis=0) if random else None
    p_J = np.array([p_value(value, null_PJ.max(1)) for value in observed_J])
    return ExpertUsage(share_GJE, groups, layers, observed_J, other, np.quantile(null_PJ, 0.95, axis=0), p_J)


def _shares(counts_WJE: np.ndarray, owner_W: np.ndarray) -> np.ndarray:
    """Fraction of each expert in each group."""
    total_GJE = np.stack([counts_WJE[owner_W == group].sum(0) for group in range(owner_W.max() + 1)])
    return total_GJE / total_GJE.sum(-1, keepdims=True)


def mutual_information(share_GJE: np.ndarray) -> np.ndarray:
    """Bits that one choice of experts tells about the group, groups taken as equally frequent; (J,)."""
    return entropy(share_GJE.mean(0), base=2, axis=-1) - entropy(share_GJE, base=2, axis=-1).mean(0)


def _counts(model: BrainOF, found: Sequence[Explained]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Tokens of each window that each expert took, (W, J, E), and the layers that have experts."""
    modules = {number: block.ffn for number, block in enumerate(model.blocks) if isinstance(block.ffn, Experts)}
    if not modules:
        raise ConfigError("the model has no experts", field="model.backbone.ffn")

    def look(module: Any, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        ids_BK = output[1].flatten(1)
        counts_BE = torch.zeros(len(ids_BK), len(module.router_ED), device=ids_BK.device)
        return counts_BE.scatter_add_(1, ids_BK, torch.ones_like(ids_BK, dtype=counts_BE.dtype))

    parts = [looked_at(model, each.examples, modules.values(), look) for each in found]
    return np.concatenate(parts).astype(np.float64), tuple(modules)
