"""What could be decoded at best: scores from the true sources, and from effect sizes.

A score on simulated recordings means something beside chance and beside what is possible: it can be read as a fraction
of the way, (score - chance) / (oracle - chance).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import fft
from scipy.stats import norm

from brainof.evaluation import SuiteTask
from brainof.evaluation.sources import parameters_of
from brainof.simulate.activity import BASELINE
from brainof.simulate.regions import NETWORKS, Regions
from brainof.simulate.subjects import Subject, cohort

#: Bands of the features, Hz; alpha is split so that a shift of its peak is seen
BANDS = ((4.0, 7.5), (7.5, 9.0), (9.0, 10.0), (10.0, 11.0), (11.0, 13.5), (15.0, 25.0))


@dataclass(frozen=True, eq=False)
class Epochs:
    """Features of labelled epochs."""

    features: np.ndarray  # (n_epochs, n_features)
    labels: np.ndarray  # bool, (n_epochs,): True for task
    subjects: np.ndarray  # str, (n_epochs,)
    blocks: np.ndarray  # int, (n_epochs,)


def true_features(subject: Subject, modality: str) -> Epochs:
    """Features of the truth in the epochs that the events table of a modality lists.

    EEG and MEG: log power of the source currents by band, network and hemisphere. fMRI: mean clean BOLD change by
    network and hemisphere. Nothing measured, no noise: what no sensor can improve on.
    """
    truth, recording = subject.truth, subject.recordings[modality]
    events = recording.events[recording.events["trial_type"].isin(["rest", "task"])]
    rows = []
    for onset, duration in zip(events["onset"], events["duration"], strict=True):
        start, length = round(onset * recording.sfreq), round(duration * recording.sfreq)
        if modality == "fmri":
            change = truth.clean["fmri"][:, start : start + length].mean(axis=1) / BASELINE - 1
            rows.append(100 * _by_place(change[:, None], truth.regions))
        else:
            power = _band_power(truth.sources[:, start : start + length], recording.sfreq)
            rows.append(np.log(_by_place(power, truth.regions)))
    return Epochs(
        np.array([row.ravel() for row in rows]),
        (events["trial_type"] == "task").to_numpy(),
        np.full(len(rows), subject.name),
        events["block"].to_numpy(),
    )


def _band_power(signal: np.ndarray, sfreq: float) -> np.ndarray:
    window = np.hanning(signal.shape[1]).astype(np.float32)
    power = np.abs(fft.rfft(signal * window)) ** 2
    frequency = fft.rfftfreq(signal.shape[1], 1 / sfreq)
    return np.stack([power[:, (frequency >= low) & (frequency < high)].mean(axis=1) for low, high in BANDS], axis=1)


def _by_place(values: np.ndarray, regions: Regions) -> np.ndarray:
    """Means over the regions of each network and hemisphere, shape (n_places, n_columns); fMRI may lack the last."""
    networks, lefts = regions.networks[: len(values)], regions.left[: len(values)]
    places = [(networks == network) & (lefts == left) for network in NETWORKS for left in (True, False)]
    return np.array([values[place].mean(axis=0) for place in places if place.any()])


def pooled(parts: Iterable[Epochs]) -> Epochs:
    """Epochs of several subjects."""
    columns = zip(*((part.features, part.labels, part.subjects, part.blocks) for part in parts), strict=True)
    return Epochs(*map(np.concatenate, columns))


def joined(first: Epochs, second: Epochs) -> Epochs:
    """Features of two modalities for the blocks both have, with their products, so that an exclusive or is linear."""
    one, two = (_by_block(epochs, epochs.features) for epochs in (first, second))
    shared = one.index.intersection(two.index)
    subjects, blocks = (shared.get_level_values(level).to_numpy() for level in (0, 1))
    left, right = (_principal(table.loc[shared].to_numpy(), subjects) for table in (one, two))
    products = (left[:, :, None] * right[:, None, :]).reshape(len(shared), -1)
    labels = _by_block(first, first.labels).loc[shared, 0].to_numpy() > 0
    return Epochs(np.concatenate([left, right, products], axis=1), labels, subjects, blocks)


def _by_block(epochs: Epochs, values: np.ndarray) -> pd.DataFrame:
    """Means over the epochs of each (subject, block)."""
    return pd.DataFrame(values.astype(float)).groupby([epochs.subjects, epochs.blocks]).mean()


def _centred(features: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Features without the mean of their subject."""
    return features - pd.DataFrame(features).groupby(subjects).transform("mean").to_numpy()


def _principal(values: np.ndarray, subjects: np.ndarray, n: int = 4) -> np.ndarray:
    """First components of features centred by subject (no label is used), unit variance."""
    centred = _centred(values, subjects)
    left, _, _ = np.linalg.svd(centred / (centred.std(axis=0) + 1e-12), full_matrices=False)
    return left[:, :n] * np.sqrt(len(left))


def oracle_score(epochs: Epochs, n_folds: int = 5, centre: bool = True) -> float:
    """Balanced accuracy of logistic regression on the truth, folds by subject.

    Parameters
    ----------
    centre : bool
        Subtract each subject's mean first: traits of the person are known to the oracle (transductive).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = _centred(epochs.features, epochs.subjects) if centre else epochs.features
    folds = GroupKFold(min(n_folds, len(np.unique(epochs.subjects))))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    predicted = cross_val_predict(model, features, epochs.labels, groups=epochs.subjects, cv=folds)
    return float(balanced_accuracy_score(epochs.labels, predicted))


def best_accuracy(d: float) -> float:
    """Bayes-optimal balanced accuracy for two Gaussian classes of equal variance, Cohen's d apart: Phi(d / 2)."""
    return float(norm.cdf(abs(d) / 2))


def best_auc(d: float) -> float:
    """Best area under the ROC curve for the same two classes: Phi(d / sqrt 2)."""
    return float(norm.cdf(abs(d) / np.sqrt(2)))


def best_of_task(task: SuiteTask) -> float:
    """Best balanced accuracy of a question of simulated people.

    States: a classifier on the true sources of the same cohort, each person's own level known. People: the classes are
    Gaussian with known distance in the individual alpha peak, which EEG and MEG show (Bayes-optimal); the default
    network of patients is coupled so much more weakly that BOLD tells them apart with certainty. Confounded: nothing
    but the site tells, so the best honest score is chance.
    """
    assert task.simulate is not None
    if not task.recipe.endswith("/diagnosis"):
        return oracle_score(_truth(task))
    effects = parameters_of(task.simulate).effects
    if task.simulate.modality == "fmri":
        return 1.0 if effects.group_connectivity else 0.5
    return best_accuracy(effects.group_alpha)


def best_of_pair(first: SuiteTask, second: SuiteTask) -> float:
    """The same of two modalities at once, window by window."""
    return oracle_score(joined(_truth(first), _truth(second)), centre=False)


def _truth(task: SuiteTask) -> Epochs:
    assert task.simulate is not None
    people = cohort(parameters_of(task.simulate))
    return pooled(true_features(subject, task.simulate.modality) for subject in people)


def fraction(score: float, chance: float, best: float) -> float:
    """How much of what is possible a score reaches; NaN where the best is within 0.1 of chance: nothing is possible."""
    return float((score - chance) / (best - chance)) if abs(best - chance) > 0.1 else float(np.nan)
