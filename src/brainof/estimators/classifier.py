"""BrainOFClassifier: labels from EEG, MEG and fMRI windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from ..adaptation import Target
from ..adaptation.calibration import class_uncertainty, decision_values, log_probabilities, member_log_probabilities
from .base import BrainOFPredictor
from .labels import checked_labels


class BrainOFClassifier(ClassifierMixin, BrainOFPredictor):
    """A classifier of brain signals on a pretrained Brain-OF model.

    `X` may be `mne.Epochs` (or a list of them), a list of Recordings or of files, `CorpusRows`, an array or tensor
    (n, channels, times) or a list of equal arrays (channels, times), with `sfreq`, `channels` and `units`, or a 2-D
    array, whose rows are taken for prepared windows of one channel of unknown place. Signals with metadata are checked
    against the contract of the model and prepared by its own steps, each sample by itself; a sample longer than the
    model's window is cut, and its windows are averaged.

    Parameters
    ----------
    model : str, path, module or (module, InputContract)
        A preset (random weights), a run or release folder, a Hub id, or a module with `forward_features` and `pool`.
    adapt : str, dict or Adaptation
        "frozen" or "probe" (closed-form ridge on frozen features), "mlp", "attentive", "lora", "full", "few_shot",
        "two_stage", "ensemble", or a configuration from `brainof.adaptation`.
    pool : str
        Pooling over latents that the head reads: "mean", "gram", "concat@waveform", ... (see `BrainOF.pool`); "auto" is
        that of `adapt`, which is the model's own unless it says otherwise.
    {parameters}
    within_subject : bool
        Let `score` take subjects that were trained on.

    Attributes
    ----------
    classes_ : ndarray
        Sorted labels.
    adapted_ : Adapted or AdaptedEnsemble
        Backbone, head, temperature and report.
    subjects_ : ndarray of str or None
        Subjects trained on, where the input names them.
    model_, contract_ : module, InputContract or None
        The base model.
    n_features_in_ : int
        Columns of a 2-D array seen in fit.

    Examples
    --------
    >>> import numpy as np
    >>> from brainof import BrainOFClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = 2e-5 * rng.standard_normal((20, 3, 256))
    >>> y = np.tile(["rest", "task"], 10)
    >>> classifier = BrainOFClassifier("debug", sfreq=128, channels=["Fz", "Cz", "Pz"], random_state=0)
    >>> classifier.fit(X, y).predict_proba(X[:2]).shape
    (2, 2)
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> BrainOFClassifier:
        """Fit.

        Parameters
        ----------
        X : see the class
        y : array-like, shape (n_samples,)
            Labels.
        groups : array-like, shape (n_samples,), optional
            Subject of each sample; by default what the input names. Inner folds and early stopping keep them whole.

        Raises
        ------
        LabelError
            One class, missing labels, or lengths that differ.
        ContractError
            The signals are not what the model was trained on; the message names the cure.
        """
        self.classes_: Any = self._fit(X, y, groups, checked_labels, Target.classes).names
        return self

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Log probabilities (n_samples, n_classes)."""
        return log_probabilities(self._outputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities (n_samples, n_classes); the temperature comes from held-out groups.

        Adaptations that are trained by gradient also stop early by them: their calibration is a little optimistic.
        """
        return np.exp(self.predict_log_proba(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Log odds (n_samples,) of two classes, log probabilities (n_samples, n_classes) of more."""
        return decision_values(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Labels (n_samples,)."""
        likeliest = self.predict_log_proba(X).argmax(axis=1)  # first: it refuses where nothing is fitted
        return self.classes_[likeliest]

    def uncertainty(self, X: Any, passes: int = 20) -> dict[str, np.ndarray]:
        """Total, aleatoric and epistemic uncertainty (nats, each (n_samples,)).

        Epistemic is what the members of an ensemble disagree on or, with one member, `passes` passes with dropout; a
        probe without dropout has none.
        """
        return class_uncertainty(np.exp(member_log_probabilities(self._varied(X, passes))))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; a LabelError for labels as in `fit`, or a subject that was trained on (see `within_subject`)."""
        self._refuse_shared_subjects(X)
        return super().score(X, checked_labels(y), sample_weight)
