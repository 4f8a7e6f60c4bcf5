"""How much evidence for the true label a linear probe reads from features, with and without a part of the input.

Legend: N windows, K hidden parts, F features, P labellings (the true one first, then permuted ones).
"""

from __future__ import annotations

import numpy as np

from ..stats import nulls
from ..stats.ridge import decisions
from ..stats.splits import CrossSubject
from .source import Explained

#: What an effect of 1 means, with labels and without
EVIDENCE = "loss of evidence for the true label (RMS of the decision value)"
ACCURACY = "loss of accuracy of the value (variance of the target)"
CHANGE = "change of the embedding (SD over windows)"


def lost_evidence(
    explained: Explained, labels_NP: np.ndarray, intact_NF: np.ndarray, hidden_KNF: np.ndarray, random_state: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What hiding costs: (K, N) with the true labels, and (P, K) means over windows with permuted ones.

    And the mean evidence of intact windows, (1 + P): whether there is anything to lose.

    Probes are fitted on intact windows of some groups and read those of others.
    """
    n_classes, groups = len(explained.classes), explained.groups
    drop_KN = np.zeros(hidden_KNF.shape[:2])
    null_PK = np.zeros((labels_NP.shape[1] - 1, len(hidden_KNF)))
    whole_NP = np.zeros(labels_NP.shape)
    folds = CrossSubject(min(6, len(np.unique(groups))), 1, random_state)
    for train, test in folds.split(groups=groups):
        stacked = np.concatenate([intact_NF[None, test], hidden_KNF[:, test]])
        flat = stacked.reshape(-1, stacked.shape[-1])
        scores = decisions(intact_NF[train], labels_NP[train], groups[train], flat, n_classes)
        scores = scores.reshape(len(stacked), len(test), *scores.shape[1:])
        evidence = _evidence(scores, labels_NP[test], n_classes)  # (1 + K, n_test, P)
        lost = evidence[0] - evidence[1:]
        drop_KN[:, test] += lost[:, :, 0]
        null_PK += lost[:, :, 1:].sum(1).T / len(intact_NF)
        whole_NP[test] = evidence[0]
    # over all folds: windows of one subject alone may hardly differ
    scale_P = np.sqrt((whole_NP**2).mean(0)) + 1e-12
    if not n_classes:
        scale_P = np.full(labels_NP.shape[1], labels_NP[:, 0].var())
    return drop_KN / scale_P[0], null_PK / scale_P[1:, None], whole_NP.mean(0) / scale_P


def _evidence(scores: np.ndarray, labels_nP: np.ndarray, n_classes: int) -> np.ndarray:
    """Decision value for the label, against the mean of the others; of a regression minus the squared error."""
    if not n_classes:
        return -((scores - labels_nP) ** 2)
    if n_classes == 2:
        return scores * np.where(labels_nP == 1, 1.0, -1.0)
    own = np.take_along_axis(scores, np.broadcast_to(labels_nP, scores.shape[:-1])[..., None], -1)[..., 0]
    return own - (scores.sum(-1) - own) / (n_classes - 1)


def labellings(explained: Explained, n_permutations: int, random_state: int = 0) -> np.ndarray:
    """The labels, and permutations of them that respect groups and recordings, (N, 1 + n_permutations)."""
    y, groups = explained.y, explained.groups
    assert y is not None
    rng = np.random.default_rng(random_state)
    if explained.unit == "windows":  # of one subject: nothing says what else could be exchanged
        return np.stack([y, *(rng.permutation(y) for _ in range(n_permutations))], axis=1)
    onsets = explained.table["onset"].to_numpy(dtype=float) if "onset" in explained.table else None
    return nulls.labellings(n_permutations, y, groups, explained.recordings, rng, onsets=onsets)


def changes(intact_NF: np.ndarray, hidden_KNF: np.ndarray) -> np.ndarray:
    """How far hiding moves the embedding of each window, (K, N), relative to how much windows differ."""
    scale_F = intact_NF.std(0)
    useful = scale_F > 1e-6 * max(float(scale_F.max()), 1e-12)
    moved_KNF = (hidden_KNF[..., useful] - intact_NF[:, useful]) / scale_F[useful]
    return np.sqrt((moved_KNF**2).mean(-1))


def over_groups(values_KN: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Means over the windows of each group, (S, K)."""
    _, codes = np.unique(groups, return_inverse=True)
    sums_SK = np.zeros((codes.max() + 1, len(values_KN)))
    np.add.at(sums_SK, codes, values_KN.T)
    return sums_SK / np.bincount(codes)[:, None]
