"""Maps of embeddings in two dimensions, and the share of their variance that label, subject and site explain.

Legend: N windows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ..corpus.index import LABEL
from ..errors import ConfigError, check_known
from ..inference.batches import pooled
from ..stats.metrics import standardise
from ..stats.nulls import constant_within, exchange, p_value, permute_labels
from ..utils.optional import optional
from ..utils.values import finite
from .effects import ALPHA
from .source import Explained, resolve, untrained

METHODS = ("pca", "tsne", "umap")


@dataclass(frozen=True, eq=False)
class Factor:
    """What colours a map ("label", "subject", "site", "dataset"), with its value for each of N windows.

    Attributes
    ----------
    share, untrained : float; the latter or None
        Between-group over total sum of squares of standardised features (eta squared); the largest with random weights.
    null_95, p_labels : float or None
        95th percentile with permuted values, and p value; None where nothing can be exchanged.
    """

    name: str
    values: np.ndarray
    share: float
    null_95: float | None = None
    p_labels: float | None = None
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
    found: Explained | Sequence[Explained],
    model: Any,
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
    found : Explained, or list of these
        From `gather`; several are drawn together, coloured by dataset as well.
    model : BrainOF, name or fitted estimator
    methods : sequence of {"pca", "tsne", "umap"}
        UMAP needs the extra `explain`; a DependencyError without it.
    n_untrained, n_permutations, random_state, pool
        As in `occlusion`.

    Raises
    ------
    ConfigError
        Fewer than four windows, or an unknown method.
    """
    parts = [found] if isinstance(found, Explained) else list(found)
    for method in methods:
        check_known(method, METHODS, ConfigError, field="methods")
    if sum(map(len, parts)) < 4:
        raise ConfigError("fewer than four windows", field="source", fix="give a longer recording, or several")
    network, _, own_pool = resolve(model)
    pool = own_pool if pool == "auto" else pool

    def features(of: Any) -> np.ndarray:
        return standardise(np.concatenate([pooled(of, part.examples, pool) for part in parts])).astype(np.float64)

    X_NF = features(network)
    nulls = [features(null) for null in untrained(network, n_untrained)]
    table = factors_of(parts)
    groups, recordings = (np.concatenate([getattr(part, name) for part in parts]) for name in ("groups", "recordings"))
    rng = np.random.default_rng(random_state)
    # where subjects have several recordings these exchange subjects: windows of one are alike in any case
    units = np.arange(len(groups)).astype(str) if constant_within(recordings, groups) else recordings

    def permuted(name: str, values: np.ndarray) -> np.ndarray:
        if name == "subject":
            return exchange(groups, units, np.zeros(len(groups)), rng)
        return permute_labels(values, groups, recordings, rng)

    factors = []
    for name in map(str, table):
        values = table[name].to_numpy(dtype=str)
        n = 0 if name == "dataset" else n_permutations
        share, drawn = variance_share(X_NF, values), [variance_share(X_NF, permuted(name, values)) for _ in range(n)]
        null_95 = float(np.quantile(drawn, 0.95)) if drawn else None
        p = p_value(share, np.array(drawn)) if drawn else None
        other = float(np.max([variance_share(null, values) for null in nulls])) if nulls else None
        factors.append(Factor(name, values, share, null_95, p, other))
    pca = PCA(2, random_state=random_state).fit(X_NF)
    coordinates = {method: _laid_out(X_NF, method, random_state) for method in methods}
    about = {"name": ", ".join(part.name for part in parts), "windows": len(X_NF)}
    first, second = pca.explained_variance_ratio_.tolist()
    return EmbeddingMap(coordinates, factors, about if len(parts) > 1 else parts[0].about, (first, second))


def factors_of(parts: Sequence[Explained]) -> pd.DataFrame:
    """Columns label, subject, site and dataset, as far as windows differ in them."""
    frames = []
    for part in parts:
        columns: dict[str, Any] = {}
        if part.y is not None and part.classes:
            columns["label"] = np.array(part.classes)[part.y]
        if part.unit == "subjects":
            columns["subject"] = part.groups
        for name in (f"{LABEL}site", "site"):
            if name in part.table:
                columns["site"] = part.table[name].astype("string").fillna("unknown").to_numpy(dtype=str)
        columns["dataset"] = np.full(len(part), f"{part.name} ({part.modality})")
        frames.append(pd.DataFrame(columns))
    table = pd.concat(frames, ignore_index=True).fillna("unknown")
    kept = [name for name in ("label", "subject", "site", "dataset") if name in table and table[name].nunique() > 1]
    return table[kept]


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
