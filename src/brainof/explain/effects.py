"""A map of effects, one per hidden part, with confidence intervals over subjects and the nulls it was held against.

Legend: S subjects (or windows, where there is one subject), K parts, P permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..channels import Channels
from ..utils.values import finite

#: Below this a part beats a null; family-wise over all parts of the map
ALPHA = 0.05


def judged(lost: Sequence[str], text: str) -> str:
    """The verdict of a map: the nulls that it does not beat, if any, and its numbers."""
    return f"DOES NOT BEAT ITS NULL ({' and '.join(lost)}): {text}" if lost else f"beats its nulls: {text}"


@dataclass(frozen=True, eq=False)
class EffectMap:
    """How much each part of the input matters to a model.

    Attributes
    ----------
    by, names : str, tuple of str
        What was hidden: "channel", "region", "network", "time", "band"; "gradient" and "modality" for those maps; the K
        parts.
    effect, untrained : ndarray, shape (K,); the latter or None
        Mean over subjects (or windows) in `measure`, what an effect of 1 means; with random weights (mean over seeds).
    low, high : ndarray, shape (K,)
        95 % confidence interval of the mean over subjects (Student's t); NaN where there is one.
    unit, n_units : str, int
        What intervals and tests run over: "subjects" or "windows", and how many.
    p_untrained, p_labels : ndarray, shape (K,), or None
        p values, corrected over all parts, that an effect is no larger than with random weights (see `effect_map`) and
        than with permuted labels (the largest effect of each permutation). None: not tested.
    labels_95 : float or None
        95th percentile of the largest effect over parts with permuted labels.
    about : dict
        Dataset, modality, task, windows: what the map is of.
    channels : Channels or None
        Where the parts sit, for maps by channel.
    """

    by: str
    names: tuple[str, ...]
    effect: np.ndarray
    low: np.ndarray
    high: np.ndarray
    measure: str
    unit: str
    n_units: int
    untrained: np.ndarray | None = None
    p_untrained: np.ndarray | None = None
    p_labels: np.ndarray | None = None
    labels_95: float | None = None
    about: dict[str, Any] = field(default_factory=dict)
    channels: Channels | None = None
    notes: tuple[str, ...] = ()

    @property
    def beats(self) -> np.ndarray:
        """Bool (K,): True where an effect beats every null that it was held against."""
        tested = [p for p in (self.p_untrained, self.p_labels) if p is not None]
        return np.logical_and.reduce([p < ALPHA for p in tested]) if tested else np.zeros(len(self.names), bool)

    @property
    def verdict(self) -> str:
        """One sentence for the figure: which nulls the map beats."""
        nulls = {"random weights": self.p_untrained, "permuted labels": self.p_labels}
        tested = {name: p for name, p in nulls.items() if p is not None}
        if not tested:
            return f"not tested: one of {self.unit}" if self.n_units < 2 else "held against no null"
        n = int(self.beats.sum())
        against = " and ".join(tested)
        if n:
            return f"beats its null ({against}) at {n} of {len(self.names)}"
        lost = " and ".join(name for name, p in tested.items() if not (p < ALPHA).any())
        return f"DOES NOT BEAT ITS NULL ({lost or f'{against} together'})"

    def to_frame(self) -> pd.DataFrame:
        """One row per part, the largest effect first."""
        columns = {"effect": self.effect, "low": self.low, "high": self.high, "untrained": self.untrained}
        columns |= {"p_untrained": self.p_untrained, "p_labels": self.p_labels, "beats_nulls": self.beats}
        frame = pd.DataFrame({self.by: self.names, **{name: v for name, v in columns.items() if v is not None}})
        return frame.sort_values("effect", ascending=False, ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {key: value for key, value in vars(self).items() if key != "channels"}
        return finite({"kind": "effects", **values, "beats_nulls": self.beats, "verdict": self.verdict})


def effect_map(
    effect_SK: np.ndarray,
    untrained_RSK: np.ndarray | None,
    labels_PK: np.ndarray | None,
    random_state: int = 0,
    **about: Any,
) -> EffectMap:
    """The map of effects per subject, with its interval and tests; `about` are further fields of EffectMap.

    To beat random weights (R seeds) an effect must be larger than theirs in the subjects, by sign flips, and larger
    than the effects of all parts and seeds vary: another draw of random weights differs from the first as well.
    """
    n_units = len(effect_SK)
    mean_K = effect_SK.mean(0)
    half_K = np.full_like(mean_K, np.nan)
    if n_units > 1:
        half_K = student.ppf(0.975, n_units - 1) * effect_SK.std(0, ddof=1) / np.sqrt(n_units)
    found: dict[str, Any] = {"effect": mean_K, "low": mean_K - half_K, "high": mean_K + half_K, "n_units": n_units}
    if untrained_RSK is not None and len(untrained_RSK):
        found["untrained"] = untrained_RSK.mean((0, 1))
        if n_units > 1:
            paired_K = sign_flip_p(effect_SK - untrained_RSK.mean(0), random_state)
            found["p_untrained"] = np.maximum(paired_K, beyond_p(mean_K, untrained_RSK.mean(1)))
    if labels_PK is not None and len(labels_PK):
        largest_P = labels_PK.max(1)
        found["labels_95"] = float(np.quantile(largest_P, 0.95))
        found["p_labels"] = (1 + (largest_P >= mean_K[:, None]).sum(1)) / (1 + len(largest_P))
    return EffectMap(**found, **about)


def beyond_p(effect_K: np.ndarray, null_RK: np.ndarray) -> np.ndarray:
    """p values (Bonferroni over K) that an effect is one more draw from those of all parts and seeds (Student's t)."""
    n = null_RK.size
    if n < 3:
        return np.ones_like(effect_K)
    t_K = (effect_K - null_RK.mean()) / (null_RK.std(ddof=1) * np.sqrt(1 + 1 / n) + 1e-300)
    return np.minimum(1.0, len(effect_K) * student.sf(t_K, n - 1))


def sign_flip_p(difference_SK: np.ndarray, random_state: int = 0, most: int = 2000) -> np.ndarray:
    """p values, corrected over K, that mean differences are above zero (largest t over sign flips of whole subjects).

    With few subjects all flips are taken: the least p of n subjects is 2 ** -n.

    Source: Nichols & Holmes (2002), Human Brain Mapping 15, 1-25.
    """
    n = len(difference_SK)
    if 2**n <= most:
        signs_FS = 1 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)  # the first row flips nothing
    else:
        signs_FS = np.random.default_rng(random_state).choice([-1.0, 1.0], (most, n))
        signs_FS[0] = 1.0
    # the sum of squares knows no signs, so that t follows from the mean of each flip alone
    mean_FK, square_K = signs_FS @ difference_SK / n, (difference_SK**2).mean(0)
    t_FK = mean_FK / np.sqrt(np.maximum(square_K - mean_FK**2, 1e-12 * square_K + 1e-300))
    return (t_FK.max(1)[:, None] >= t_FK[0] - 1e-12).mean(0)
