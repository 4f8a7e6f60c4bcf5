"""Scores per subject: influence of each subject on a pooled score, standard errors, paired comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata, t, wilcoxon


def pseudo_values(
    metric: Callable[[np.ndarray, np.ndarray], float], y: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> dict[str, float]:
    """Jackknife pseudo-values of a metric: n times its value minus (n - 1) times that without the group.

    Where a label belongs to the subject, a balanced accuracy or AUC inside one subject says little or is undefined. The
    mean over subjects of these values is the metric over all, their standard error is its standard error, and
    differences of two features pair subject by subject (for the AUC: DeLong et al. 1988). NaN where the metric without
    the group is undefined.
    """
    names = np.unique(groups)
    whole = metric(y, scores)
    return {
        str(name): len(names) * whole - (len(names) - 1) * metric(y[groups != name], scores[groups != name])
        for name in names
    }


def paired(first: Mapping[Any, float], second: Mapping[Any, float], larger_is_better: bool = True) -> dict[str, Any]:
    """Difference of two scores per subject, with wins, losses and a Wilcoxon signed-rank test.

    Groups that lack a finite score in one of them are left out. Returns difference (mean of first - second), se, wins,
    losses, p_value (two-sided; 1 where nothing differs) and n_groups.
    """
    names = [name for name in first if name in second and np.isfinite(first[name]) and np.isfinite(second[name])]
    difference = np.array([first[name] - second[name] for name in names])
    better = difference if larger_is_better else -difference
    return {
        "difference": float(difference.mean()) if len(names) else float("nan"),
        "se": standard_error(difference),
        "wins": int((better > 1e-12).sum()),
        "losses": int((better < -1e-12).sum()),
        "p_value": signed_rank_p(difference[np.abs(difference) > 1e-12]),
        "n_groups": len(names),
    }


def signed_rank_p(difference: np.ndarray) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test, exact also with ties, of which scores of decoders are full.

    Own code up to 200 differences, since SciPy draws random sign flips where there are ties. The null flips the sign of
    every difference; its rank sum is counted by convolution.
    """
    if not len(difference):
        return 1.0
    if len(difference) > 200:
        return float(wilcoxon(difference, method="asymptotic").pvalue)
    ranks = np.round(2 * rankdata(np.abs(difference))).astype(int)  # twice the mid-ranks are whole numbers
    fraction = np.ones(1)
    for rank in ranks:
        fraction = 0.5 * (np.pad(fraction, (0, rank)) + np.pad(fraction, (rank, 0)))
    observed = ranks[difference > 0].sum()
    return float(min(1.0, 2 * min(fraction[: observed + 1].sum(), fraction[observed:].sum())))


def standard_error(values: np.ndarray | Sequence[float]) -> float:
    """Standard error of the mean over subjects; NaN for fewer than two finite values."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.std(ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else float("nan")


def combined_error(variances: Sequence[float], freedoms: Sequence[int]) -> tuple[float, float]:
    """Root of the sum of variances of means, and half its 95 % interval (Welch-Satterthwaite)."""
    parts = np.array(variances, dtype=float)
    freedom = parts.sum() ** 2 / max(float((parts**2 / freedoms).sum()), 1e-300)
    error = float(np.sqrt(parts.sum()))
    return error, float(t.ppf(0.975, freedom)) * error


def mean_by_name(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Name -> mean of its finite values over parts, in the order of the names."""
    parts = list(parts)
    names = sorted({name for part in parts for name in part})
    return {name: nanmean(part[name] for part in parts if name in part) for name in names}


def nanmean(values: Iterable[float]) -> float:
    """Mean of the finite values; NaN where there is none."""
    found = np.array(list(values), dtype=float)
    return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else float("nan")
