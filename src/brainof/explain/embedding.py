"""Maps of embeddings in two dimensions, and the share of their variance that label, subject and site explain.

Legend: N windows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ..corpus.index import LABEL
from ..errors import ConfigError, check_known
from ..inference.batches import pooled
from ..model import BrainOF
from ..stats.metrics import standardise
from ..stats.nulls import constant_within, exchanged, p_value, permutations
from ..utils.optional import optional
from ..utils.values import finite
from .effects import ALPHA
from .source import Explained, untrained

METHODS = ("pca", "tsne", "umap")


@dataclass(frozen=True, eq=False)
class Factor:
    """What colours a map ("label", "subject", "site"), with its value for each of N windows."""

    name: str
    values: np.ndarray
    #: Between-group over total sum of squares of standardised features (eta squared)
    share: float
    #: 95th percentile with permuted values, and p value; None where nothing can be exchanged
    null_95: float | None = None
    p_labels: float | None = None
    #: The largest share with random weights
    untrained: float | None = None

    @property
    def verdict(self) -> str:
        """One sentence for the panel."""
        parts, lost = [], []
        if self.null_95 is not None:
            parts.append(f"permuted {100 * self.null_95:.0f} %")
            if self.p_labels is not None and self.p_labels >= ALPHA:
                lost.append("permuted labels")
        if self.untrained is not None:
            parts.append(f"random weights {100 * self.untrained:.0f} %")
            if self.share <= self.untrained:
                lost.append("random weights")
        head = f"{self.name}: {100 * self.share:.0f} % of variance ({', '.join(parts) or 'no null'})"
        return head + (f"\nDOES NOT BEAT ITS NULL ({' and '.join(lost)})" if lost else "")


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Coordinates of the windows by method, and the factors that colour them."""

    coordinates: dict[str, np.ndarray]
    factors: list[Factor]
    about: dict[str, Any]
    explained: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        factors = [{**vars(factor), "verdict": factor.verdict} for factor in self.factors]
        return finite({"kind": "embedding", "about": self.about, **self.coordinates, "factors": factors}, 4)


def embedding_map(
    explained: Explained,
    model: BrainOF,
    *,
    methods: Sequence[str] = ("pca", "tsne"),
    n_untrained: int = 2,
    n_permutations: int = 200,
    random_state: int = 0,
    pool: str = "auto",
) -> EmbeddingMap:
    """Embed windows and lay them out in two dimensions.

    Parameters
    ----------
    methods : sequence of {"pca", "tsne", "umap"}
        UMAP needs the extra `explain`; a DependencyError without it.
    explained, model, n_untrained, n_permutations, random_state, pool
        As in `occlusion`.

    Raises
    ------
    ConfigError
        Fewer than four windows, or an unknown method.
    """
    for method in methods:
        check_known(method, METHODS, ConfigError, field="methods")
    if len(explained) < 4:
        raise ConfigError("fewer than four windows", field="source", fix="give a longer recording, or several")

    def features(of: BrainOF) -> np.ndarray:
        return standardise(pooled(of, explained.examples, pool)).astype(np.float64)

    X_NF = features(model)
    nulls = [features(null) for null in untrained(model, n_untrained)]
    groups, recordings = explained.groups, explained.recordings
    rng = np.random.default_rng(random_state)
    # where subjects have several recordings these exchange subjects: windows of one are alike in any case
    units = np.arange(len(groups)).astype(str) if constant_within(recordings, groups) else recordings

    factors = []
    for name, values in factors_of(explained).items():
        if name == "subject":
            permuted = exchanged(groups, units, np.zeros(len(groups)), rng)
        else:
            permuted = permutations(values, groups, recordings, rng)
        drawn = [variance_share(X_NF, labels) for labels in islice(permuted, n_permutations)]
        share, null_95 = variance_share(X_NF, values), float(np.quantile(drawn, 0.95)) if drawn else None
        p = p_value(share, np.array(drawn)) if drawn else None
        other = max((variance_share(null, values) for null in nulls), default=None)
        factors.append(Factor(name, values, share, null_95, p, other))
    first, second = PCA(2, random_state=random_state).fit(X_NF).explained_variance_ratio_.tolist()
    coordinates = {method: _laid_out(X_NF, method, random_state) for method in methods}
    return EmbeddingMap(coordinates, factors, explained.about, (first, second))


def factors_of(explained: Explained) -> dict[str, np.ndarray]:
    """Label, subject and site of each window, as far as they are known and differ."""
    found: dict[str, np.ndarray] = {}
    if explained.y is not None and explained.classes:
        found["label"] = np.array(explained.classes)[explained.y]
    if explained.unit == "subjects":
        found["subject"] = explained.groups
    if (site := f"{LABEL}site") in explained.table:
        found["site"] = explained.table[site].astype("string").fillna("unknown").to_numpy(dtype=str)
    return {name: values for name, values in found.items() if len(np.unique(values)) > 1}


def variance_share(X_NF: np.ndarray, values: np.ndarray) -> float:
    """Between-group over total sum of squares, over all features."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), X_NF.shape[1]))
    np.add.at(sums, codes, X_NF - X_NF.mean(0))
    total = ((X_NF - X_NF.mean(0)) ** 2).sum()
    return float(((sums**2) / counts[:, None]).sum() / total) if total > 0 else 0.0


def _laid_out(X_NF: np.ndarray, method: str, random_state: int) -> np.ndarray:
    if method == "pca":
        return PCA(2, random_state=random_state).fit_transform(X_NF)
    # distances in few components: those of hundreds of noisy features say little
    compact = PCA(min(30, *X_NF.shape), random_state=random_state).fit_transform(X_NF)
    if method == "tsne":
        perplexity = min(30.0, max(2.0, (len(X_NF) - 1) / 3))
        return TSNE(2, perplexity=perplexity, init="pca", random_state=random_state).fit_transform(compact)
    umap = optional("umap", "explain", "method='umap'")
    n_neighbors = min(15, len(X_NF) - 1)
    return umap.UMAP(n_neighbors=n_neighbors, random_state=random_state, n_jobs=1).fit_transform(compact)
