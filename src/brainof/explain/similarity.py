"""How alike representations are: between layers, and between modalities of the same moments (CKA, RSA).

Legend: N windows, F features, J layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from torch import nn

from ..errors import ConfigError
from ..inference.examples import Examples
from ..model import BrainOF
from ..stats.nulls import p_value
from ..utils.values import finite
from .effects import ALPHA, judged
from .hooks import looked_at
from .source import untrained


@dataclass(frozen=True, eq=False)
class Similarity:
    """Similarity of representations, layer by layer; rows are layers of `first`, and layer 0 is the sampler."""

    #: Modalities; the same for layers of one modality
    first: str
    second: str
    #: (J, J): unbiased linear CKA, Spearman correlation of the distances between windows, and CKA with random weights
    cka: np.ndarray
    rsa: np.ndarray
    untrained: np.ndarray | None
    #: Of the largest CKA over layers with windows of one side in another order: 95th percentile and p value. None
    #: within a modality, where the windows are the same by construction
    null_95: float | None
    p_pairing: float | None
    n_windows: int

    @property
    def verdict(self) -> str:
        """One sentence for the figure."""
        parts, lost = [f"largest CKA {self._largest(self.cka):.2f}"], []
        if self.p_pairing is not None:
            parts.append(f"95 % of shuffled pairs below {self.null_95:.2f}")
            if self.p_pairing >= ALPHA:
                lost.append("shuffled pairs")
        if self.untrained is not None:
            other = self._largest(self.untrained)
            parts.append(f"random weights {other:.2f}")
            if self.first != self.second and self._largest(self.cka) <= other:
                lost.append("random weights")
        return ", ".join(parts) if self.p_pairing is None else judged(lost, ", ".join(parts))

    def _largest(self, cka: np.ndarray) -> float:
        between = self.first != self.second or len(cka) < 2
        return float(cka.max() if between else cka[~np.eye(len(cka), dtype=bool)].max())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return finite({"kind": "similarity", **vars(self), "verdict": self.verdict}, 4)


def layer_similarity(
    examples: Mapping[str, Examples],
    model: BrainOF,
    *,
    n_untrained: int = 1,
    n_permutations: int = 200,
    random_state: int = 0,
) -> list[Similarity]:
    """Similarity of layers within each modality, and between each two modalities.

    `examples` are windows of each modality, all of the same moments; one modality alone is allowed. A ConfigError for
    fewer than five.
    """
    n_windows = len(next(iter(examples.values())))
    if n_windows < 5:
        raise ConfigError("fewer than five windows", field="source", fix="give a longer recording, or several")
    models = [model, *untrained(model, n_untrained)]
    layers = [{name: layers_of(each, rows) for name, rows in examples.items()} for each in models]
    grams, *nulls = [{name: [centred_gram(x) for x in own] for name, own in of.items()} for of in layers]
    names, found = list(examples), []
    rng = np.random.default_rng(random_state)
    for i, first in enumerate(names):
        for second in names[i:]:
            cka = _each(grams[first], grams[second], cka_of)
            one, two = ([pdist(x) for x in layers[0][name]] for name in (first, second))
            rsa = _each(one, two, lambda a, b: spearmanr(a, b).statistic)
            other = np.mean([_each(null[first], null[second], cka_of) for null in nulls], axis=0) if nulls else None
            null_95 = p = None
            if first != second and n_permutations:
                drawn = []
                for _ in range(n_permutations):
                    order = rng.permutation(n_windows)
                    drawn.append(_each(grams[first], [g[np.ix_(order, order)] for g in grams[second]], cka_of).max())
                null_95, p = float(np.quantile(drawn, 0.95)), p_value(float(cka.max()), np.array(drawn))
            found.append(Similarity(first, second, cka, rsa, other, null_95, p, n_windows))
    return found


def layers_of(model: BrainOF, examples: Examples) -> list[np.ndarray]:
    """Mean latents of the sampler and of each block, (N, D) each."""

    def look(block: nn.Module, inputs: tuple, output: tuple[torch.Tensor, Any]) -> torch.Tensor:
        return torch.stack([inputs[0], output[0]], 1).float().mean(2)

    seen_NJ2D = looked_at(model, examples, model.blocks, look).astype(np.float64)
    # what enters the first block is what the sampler made
    return [seen_NJ2D[:, 0, 0], *seen_NJ2D[:, :, 1].swapaxes(0, 1)]


def centred_gram(X_NF: np.ndarray) -> np.ndarray:
    """U-centred Gram matrix of windows (diagonal zero), whose products are unbiased.

    Source: Szekely & Rizzo (2014), Annals of Statistics 42, 2382-2412, definition 2.
    """
    gram, n = (X_NF - X_NF.mean(0)) @ (X_NF - X_NF.mean(0)).T, len(X_NF)
    np.fill_diagonal(gram, 0.0)
    mean = gram.sum(0) / (n - 2)
    gram = gram - mean - mean[:, None] + mean.sum() / (n - 1)
    np.fill_diagonal(gram, 0.0)
    return gram


def cka_of(one: np.ndarray, two: np.ndarray) -> float:
    """Unbiased linear CKA of two U-centred Gram matrices (Kornblith et al. 2019; Nguyen et al. 2021)."""
    scale = np.sqrt(max((one * one).sum(), 0.0) * max((two * two).sum(), 0.0))
    return float((one * two).sum() / scale) if scale > 0 else 0.0


def _each(one: Sequence[Any], two: Sequence[Any], measure: Any) -> np.ndarray:
    return np.array([[measure(a, b) for b in two] for a in one])
