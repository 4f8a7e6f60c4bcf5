"""BrainOFRegressor: values from EEG, MEG and fMRI windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from ..adaptation import Target
from .base import BrainOFPredictor
from .labels import checked_values


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
        return _squeezed(np.concatenate([values for _, values in self._varied(X, passes)]).std(axis=0))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2 (the mean over targets); LabelError when a subject was trained on and is tested (see `within_subject`)."""
        self._refuse_shared_subjects(X)
        return super().score(X, y, sample_weight)


def _squeezed(values_NK: np.ndarray) -> np.ndarray:
    return values_NK[:, 0] if values_NK.shape[1] == 1 else values_NK
