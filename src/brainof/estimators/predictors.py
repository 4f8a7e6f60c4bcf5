"""BrainOFClassifier and BrainOFRegressor: labels and values from EEG, MEG and fMRI windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ..adaptation import Adapted, Target
from ..adaptation.calibration import class_uncertainty, decision_values, log_probabilities, member_log_probabilities
from ..errors import LabelError
from ..inference.windows import as_input, is_array, subjects_of
from ..utils.values import counted
from .base import BrainOFEstimator, check_lengths, checked_labels, checked_values


@dataclass(eq=False, repr=False, kw_only=True)
class BrainOFPredictor(BrainOFEstimator):
    """What classifier and regressor share: how they fit, and the outputs of what was fitted."""

    pool: str = "auto"
    within_subject: bool = False

    def _fit(
        self, X: Any, y: Any, groups: Any, checked: Callable[[Any], np.ndarray], target_of: Callable[..., Target]
    ) -> Target:
        """Adapt the model to `y` and keep the subjects; labels are checked before anything is prepared."""
        chosen, seed = self._start()
        if self.pool != "auto":
            chosen = chosen.pooled_by(self.pool)
        values = checked(y)
        samples = self._samples(X, reset=True)
        check_lengths(values, samples.n_samples, "label", "y")
        target = target_of(values[samples.owner], self._window_groups(samples, groups))
        self.subjects_ = None if samples.subjects is None else np.unique(samples.subjects[samples.subjects != ""])
        self.adapted_ = self._adapt(chosen, samples, target, seed)
        return target

    def _outputs(self, X: Any, passes: int = 1) -> list[tuple[Adapted, np.ndarray]]:
        """Each fitted member and its outputs (passes, n_samples, K), averaged over the windows of a sample.

        Several passes have dropout; one member alone makes them, as several members differ by themselves.
        """
        check_is_fitted(self, "adapted_")
        samples, members = self._samples(X), self.adapted_.members()
        given: Any = {"features": self._features(samples), "batch_size": self.batch_size}
        given["samples"] = passes if len(members) == 1 else 1
        return [(member, samples.average(member.outputs(samples.examples, **given))) for member in members]

    def _refuse_shared_subjects(self, X: Any) -> None:
        """A score on subjects that were trained on says nothing of new ones."""
        check_is_fitted(self, "adapted_")
        X = as_input(X)
        if self.within_subject or self.subjects_ is None or is_array(X):
            return
        here = subjects_of(X, self._options())
        if here is None:
            return
        known, tested = self.subjects_.tolist(), here[here != ""].tolist()
        if not all("/" in name for name in (*known, *tested)):  # windows of a corpus are named dataset/subject
            known, tested = ([name.rsplit("/", 1)[-1] for name in names] for names in (known, tested))
        both = np.intersect1d(known, tested)
        if len(both):
            text = f"{counted(len(both), 'subject', 'are')} in both training and test, such as {str(both[0])!r}"
            fix = "split by subject (GroupKFold), or set within_subject=True"
            if len(set(known) | set(tested)) == 1:
                fix = "there is one subject alone, so set within_subject=True"
            raise LabelError(text, field="groups", fix=fix)


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
        return class_uncertainty(np.exp(member_log_probabilities(self._outputs(X, passes))))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; a LabelError for labels as in `fit`, or a subject that was trained on (see `within_subject`)."""
        self._refuse_shared_subjects(X)
        return super().score(X, checked_labels(y), sample_weight)


class BrainOFRegressor(RegressorMixin, BrainOFPredictor):
    """A regressor of brain signals on a pretrained Brain-OF model.

    `X` may be Epochs, Recordings, files, `CorpusRows` or arrays (n, channels, times); see `BrainOFClassifier`.

    Parameters
    ----------
    model : str, path, module or (module, InputContract)
        A preset (random weights), a run or release folder, a Hub id, or a module with `forward_features` and `pool`.
    adapt : str, dict or Adaptation
        "probe" (closed-form ridge on frozen features), "mlp", "lora", "full", ..., or from `brainof.adaptation`.
    pool : str
        Pooling over latents that the head reads: "mean", "gram", "concat@waveform", ... (see `BrainOF.pool`); "auto" is
        that of `adapt`, which is the model's own unless it says otherwise.
    {parameters}
    within_subject : bool
        Let `score` take subjects that were trained on.

    Attributes
    ----------
    adapted_ : Adapted or AdaptedEnsemble
    subjects_ : ndarray of str or None
    model_, contract_ : module, InputContract or None
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from brainof import BrainOFRegressor
    >>> X = 2e-5 * np.random.default_rng(0).standard_normal((12, 3, 256))
    >>> regressor = BrainOFRegressor("debug", sfreq=128, channels=["Fz", "Cz", "Pz"], random_state=0)
    >>> regressor.fit(X, np.arange(12)).predict(X[:2]).shape
    (2,)
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> BrainOFRegressor:
        """Fit; `y` is (n_samples,) or, for several targets at once, (n_samples, n_targets).

        `groups` as in `BrainOFClassifier.fit`.

        Raises
        ------
        LabelError
            A target is NaN, or lengths differ.
        """
        self._fit(X, y, groups, checked_values, Target.values)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values (n_samples,), or (n_samples, n_targets) of several targets."""
        return _squeezed(np.concatenate([values for _, values in self._outputs(X)]).mean(axis=0))

    def uncertainty(self, X: Any, passes: int = 20) -> np.ndarray:
        """Standard deviation over members of an ensemble, or passes of one member with dropout; shaped as `predict`."""
        return _squeezed(np.concatenate([values for _, values in self._outputs(X, passes)]).std(axis=0))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2 (the mean over targets); LabelError when a subject was trained on and is tested (see `within_subject`)."""
        self._refuse_shared_subjects(X)
        return super().score(X, y, sample_weight)


def _squeezed(values_NK: np.ndarray) -> np.ndarray:
    return values_NK[:, 0] if values_NK.shape[1] == 1 else values_NK
