"""Paired comparison of two sets of features over the same people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata, wilcoxon


def paired(first: Mapping[str, float], second: Mapping[str, float], larger_is_better: bool = True) -> dict[str, Any]:
    """Difference of two scores per person, with wins, losses and a Wilcoxon signed-rank test.

    Parameters
    ----------
    first, second : mapping of group -> score
        Groups that lack a finite score in one of them are left out.
    larger_is_better : bool
        Otherwise a win is a lower score.

    Returns
    -------
    row : dict
        difference (mean of first - second), se, wins, losses, p_value (two-sided; 1 where nothing differs), n_groups.
    """
    names = [name for name in first if name in second and np.isfinite(first[name]) and np.isfinite(second[name])]
    difference = np.array([first[name] - second[name] for name in names])
    better = difference if larger_is_better else -difference
    moved = difference[np.abs(difference) > 1e-12]
    return {
        "difference": float(difference.mean()) if len(names) else float("nan"),
        "se": standard_error(difference),
        "wins": int((better > 1e-12).sum()),
        "losses": int((better < -1e-12).sum()),
        "p_value": signed_rank_p(moved),
        "n_groups": len(names),
    }


def signed_rank_p(difference: np.ndarray) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test, exact also with ties (up to 200 differences).

    The null flips the sign of every difference; its rank sum is counted by convolution. Scores of decoders are full of
    ties, where scipy draws random permutations instead.
    """
    if not len(difference):
        return 1.0
    if len(difference) > 200:
        return float(wilcoxon(difference, method="asymptotic").pvalue)
    ranks = np.round(2 * rankdata(np.abs(difference))).astype(int)  # twice the mid-ranks are whole numbers
    share = np.ones(1)
    for rank in ranks:
        share = 0.5 * (np.pad(share, (0, rank)) + np.pad(share, (rank, 0)))
    observed = ranks[difference > 0].sum()
    return float(min(1.0, 2 * min(share[: observed + 1].sum(), share[observed:].sum())))


def standard_error(values: np.ndarray | Sequence[float]) -> float:
    """Standard error of the mean over people; NaN for fewer than two finite values."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.std(ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else float("nan")
