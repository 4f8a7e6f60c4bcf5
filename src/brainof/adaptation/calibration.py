"""Temperature scaling, probabilities and uncertainty.

Legend: M members (of an ensemble, or passes with dropout), N examples, K classes.
Source: Guo et al. 2017 (arXiv:1706.04599) for the temperature.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax, logsumexp

if TYPE_CHECKING:
    from .base import Adapted


def fit_temperature(logits_NK: np.ndarray, codes_N: np.ndarray) -> float:
    """The temperature in [0.01, 100] with the least negative log likelihood on examples that were not trained on."""
    if not len(codes_N) or not np.ptp(logits_NK):
        return 1.0
    rows = np.arange(len(codes_N))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits_NK / np.exp(log_temperature), axis=1)[rows, codes_N].mean()

    found = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100.0)), method="bounded")
    return float(np.exp(found.x))


def member_log_probabilities(outputs: Iterable[tuple[Adapted, np.ndarray]]) -> np.ndarray:
    """Log probabilities (M, N, K) of each member and pass, from pairs of a fitted model and its outputs."""
    return np.concatenate([log_softmax(values / member.temperature, axis=-1) for member, values in outputs])


def log_probabilities(outputs: Iterable[tuple[Adapted, np.ndarray]]) -> np.ndarray:
    """Log of the mean probability (N, K) over members: what an ensemble answers, in a score as in a prediction."""
    logs_MNK = member_log_probabilities(outputs)
    return logs_MNK[0] if len(logs_MNK) == 1 else logsumexp(logs_MNK, axis=0) - np.log(len(logs_MNK))


def decision_values(logs_NK: np.ndarray) -> np.ndarray:
    """Log odds (N,) of two classes, log probabilities (N, K) of more."""
    return logs_NK[:, 1] - logs_NK[:, 0] if logs_NK.shape[1] == 2 else logs_NK


def class_uncertainty(probabilities_MNK: np.ndarray) -> dict[str, np.ndarray]:
    """Entropy of the mean prediction (total), mean entropy of the members (aleatoric) and their difference (epistemic).

    All in nats, shape (N,).
    """
    total = entr(probabilities_MNK.mean(axis=0)).sum(axis=-1)
    aleatoric = entr(probabilities_MNK).sum(axis=-1).mean(axis=0)
    return {"total": total, "aleatoric": aleatoric, "epistemic": np.maximum(total - aleatoric, 0.0)}
