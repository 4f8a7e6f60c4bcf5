"""Temperature scaling, probabilities and uncertainty.

Legend: M members (of an ensemble, or passes with dropout), N examples, K classes.
Source: Guo et al. 2017 (arXiv:1706.04599) for the temperature.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax


def fit_temperature(logits_NK: np.ndarray, codes_N: np.ndarray) -> float:
    """The temperature in [0.01, 100] with the least negative log likelihood on examples that were not trained on."""
    if not len(codes_N) or not np.ptp(logits_NK):
        return 1.0
    rows = np.arange(len(codes_N))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits_NK / np.exp(log_temperature), axis=1)[rows, codes_N].mean()

    found = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100.0)), method="bounded")
    return float(np.exp(found.x))


def probabilities(logits_NK: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax at a temperature."""
    return softmax(logits_NK / temperature, axis=-1)


def expected_calibration_error(probabilities_NK: np.ndarray, codes_N: np.ndarray, bins: int = 10) -> float:
    """Mean distance between confidence and accuracy, over bins of confidence weighted by their size."""
    confidence, correct = probabilities_NK.max(axis=1), probabilities_NK.argmax(axis=1) == codes_N
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(correct[which == b].mean() - confidence[which == b].mean()) * (which == b).mean()
        for b in range(bins)
        if (which == b).any()
    ]
    return float(sum(gaps))


def class_uncertainty(probabilities_MNK: np.ndarray) -> dict[str, np.ndarray]:
    """Entropy of the mean prediction (total), mean entropy of the members (aleatoric) and their difference (epistemic).

    All in nats, shape (N,).
    """

    def entropy(p: np.ndarray) -> np.ndarray:
        return -(p * np.log(np.maximum(p, 1e-300))).sum(axis=-1)

    total, aleatoric = entropy(probabilities_MNK.mean(axis=0)), entropy(probabilities_MNK).mean(axis=0)
    return {"total": total, "aleatoric": aleatoric, "epistemic": np.maximum(total - aleatoric, 0.0)}
