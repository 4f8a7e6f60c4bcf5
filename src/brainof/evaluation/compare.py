"""Paired comparison of two sets of features over the same people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import wilcoxon


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
        "p_value": float(wilcoxon(moved).pvalue) if len(moved) else 1.0,
        "n_groups": len(names),
    }


def standard_error(values: np.ndarray | Sequence[float]) -> float:
    """Standard error of the mean over people; NaN for fewer than two finite values."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.std(ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else float("nan")
