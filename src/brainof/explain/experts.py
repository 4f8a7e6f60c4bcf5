"""Which experts the tokens of each modality and dataset are sent to, layer by layer, beside two nulls.

Legend: W windows, G groups (datasets of one modality), J layers, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import ConfigError
from ..inference.batches import batches
from ..model import BrainOF
from ..model.experts import Experts
from ..stats.nulls import p_value
from ..utils.modules import evaluating, to_device
from ..utils.values import finite
from .effects import ALPHA
from .source import Explained, untrained


@dataclass(frozen=True, eq=False)
class ExpertUsage:
    """Shares of the experts.

    Attributes
    ----------
    share : ndarray, shape (G, J, E)
        Fraction of the tokens of a group that each expert of a layer took; sums to 1 over experts.
    groups : tuple of str
        "dataset (modality)".
    layers : tuple of int
    information : ndarray, shape (J,)
        Bits that a choice of experts tells about the group: mutual information.
    untrained : ndarray, shape (J,), or None
        The same with random weights (largest of the seeds).
    labels_95, p_labels : ndarray, shape (J,), or None
        95th percentile with groups permuted over windows, and p values corrected over layers.
    """

    share: np.ndarray
    groups: tuple[str, ...]
    layers: tuple[int, ...]
    information: np.ndarray
    untrained: np.ndarray | None = None
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
        return f"{'DOES NOT BEAT ITS NULL (' + ' and '.join(lost) + ')' if lost else 'beats its nulls'}: {bits}"

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
    """Which experts the windows of each dataset and modality use.

    Raises
    ------
    ConfigError
        The model has no experts.
    """
    counts_WJE, layers = _counts(model, found)
    groups = tuple(f"{each.name} ({each.modality})" for each in found)
    owner_W = np.repeat(np.arange(len(found)), [len(each) for each in found])
    total_GJE = np.stack([counts_WJE[owner_W == g].sum(0) for g in range(len(found))])
    share_GJE = total_GJE / total_GJE.sum(-1, keepdims=True)
    observed_J = mutual_information(share_GJE)
    if len(found) < 2:
        return ExpertUsage(share_GJE, groups, layers, observed_J)
    own_WJE = counts_WJE / counts_WJE.sum(-1, keepdims=True)
    rng = np.random.default_rng(random_state)
    null_PJ = np.stack(
        [
            mutual_information(np.stack([own_WJE[shuffled == g].mean(0) for g in range(len(found))]))
            for shuffled in (rng.permutation(owner_W) for _ in range(n_permutations))
        ]
    )
    other = None
    if n_untrained:
        made = []
        for null in untrained(model, n_untrained):
            counts, _ = _counts(null, found)
            totals = np.stack([counts[owner_W == g].sum(0) for g in range(len(found))])
            made.append(mutual_information(totals / totals.sum(-1, keepdims=True)))
        other = np.max(made, axis=0)
    p_J = np.array([p_value(value, null_PJ.max(1)) for value in observed_J])
    return ExpertUsage(share_GJE, groups, layers, observed_J, other, np.quantile(null_PJ, 0.95, axis=0), p_J)


def mutual_information(share_GJE: np.ndarray) -> np.ndarray:
    """Bits that one choice of experts tells about the group, groups taken as equally frequent; (J,)."""

    def entropy(p: np.ndarray) -> np.ndarray:
        return -(p * np.log2(p + 1e-300)).sum(-1)

    return entropy(share_GJE.mean(0)) - entropy(share_GJE).mean(0)


def _counts(model: BrainOF, found: Sequence[Explained]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Tokens of each window that each expert took, (W, J, E), and the layers that have experts."""
    modules = {number: block.ffn for number, block in enumerate(model.blocks) if isinstance(block.ffn, Experts)}
    if not modules:
        raise ConfigError("the model has no experts", field="model.backbone.ffn")
    kept: list[np.ndarray] = []

    def keep(module: Any, inputs: tuple, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        ids_BK = output[1].flatten(1)
        n = len(module.router_ED)
        one_hot = torch.zeros(len(ids_BK), n, device=ids_BK.device)
        kept.append(one_hot.scatter_add_(1, ids_BK, torch.ones_like(ids_BK, dtype=one_hot.dtype)).cpu().numpy())

    parts = []
    handles = [module.register_forward_hook(keep) for module in modules.values()]
    try:
        with evaluating(model):
            for each in found:
                own = np.empty((len(each), len(modules), len(next(iter(modules.values())).router_ED)))
                for rows in batches(each.examples, np.arange(len(each)), 32):
                    kept.clear()
                    model.forward_features(to_device(each.examples.batch(rows), model))
                    own[rows] = np.stack(kept, axis=1)
                parts.append(own)
    finally:
        for handle in handles:
            handle.remove()
    return np.concatenate(parts), tuple(modules)
