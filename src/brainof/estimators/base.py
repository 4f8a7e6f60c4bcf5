"""What the three estimators share: the model behind them, their input, their features and their scikit-learn tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ..adaptation import Adaptation, Adapted, Target, TrainingSet, adaptation
from ..adaptation.saving import model_digest
from ..errors import ConfigError, LabelError
from ..inference.batches import patch_of
from ..inference.windows import InputOptions, Samples, as_input, is_array, read_samples, subjects_of
from ..utils.modules import move
from ..utils.values import counted
from .cache import cached_features
from .labels import check_lengths
from .saving import load_estimator, load_model, save_estimator

#: Arguments of an estimator that say what its input is
_INPUT = ("sfreq", "channels", "modality", "units", "prepared", "window_seconds", "accept")

#: What the classes say of the parameters that they share, in place of `{parameters}` in their docstrings
_PARAMETERS = """\
sfreq : float, optional
        Samples per second of arrays (1 / TR for fMRI).
    channels : Channels or list of str, optional
        Channels of arrays; EEG names have template positions.
    modality : {"eeg", "meg", "fmri"}
        What arrays hold, and what is read of Epochs that hold several.
    units : str, optional
        Unit of arrays, such as "uV"; SI without it.
    prepared : bool
        The signals went through the model's preparation already.
    window_seconds : float, optional
        Windows that longer samples are cut into; by default the longest of training.
    accept : collection of str
        Differences from training that are taken as they are (see `ModalityContract.check`).
    memory : None, str or joblib.Memory
        Where features of the frozen backbone are kept, so that cross-validation computes each window once.
    batch_size : int
        Windows per batch at most when features are computed; results do not depend on it.
    device : str
        Where the model runs.
    random_state : int, RandomState or None
        An int makes results repeat."""


@dataclass(eq=False, repr=False)
class BrainOFEstimator(BaseEstimator):
    """Common part of the estimators; see `BrainOFClassifier`."""

    model: Any = "pretrained"
    _: KW_ONLY
    adapt: Any = "probe"
    sfreq: float | None = None
    channels: Any = None
    modality: str = "eeg"
    units: str | None = None
    prepared: bool = False
    window_seconds: float | None = None
    accept: Any = ()
    memory: Any = None
    batch_size: int = 32
    device: str = "cpu"
    random_state: Any = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__doc__ = cls.__doc__ and cls.__doc__.replace("{parameters}", _PARAMETERS)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # Steps of fit and predict

    def _start(self) -> tuple[Adaptation, int]:
        """Check the arguments, load the model; the adaptation and a seed."""
        if not isinstance(self.batch_size, int | np.integer) or self.batch_size < 1:
            raise ConfigError(f"{self.batch_size!r}", field="batch_size", fix="give a whole number, 1 or more")
        chosen = adaptation(self.adapt)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        self.model_, self.contract_ = load_model(self.model, self.random_state)
        move(self.model_, self.device)
        self.digest_ = model_digest(self.model_)
        return chosen, seed

    def _options(self) -> InputOptions:
        return InputOptions(
            self.contract_,
            patch_of(self.model_, self.contract_),
            **{name: getattr(self, name) for name in _INPUT},
        )

    def _samples(self, X: Any, reset: bool = False) -> Samples:
        X = as_input(X)
        if is_array(X):
            # scikit-learn's own checks of a table: shape, finiteness, number and names of features
            X = validate_data(self, X, dtype=np.float64, reset=reset)
        return read_samples(X, self._options())

    def _adapt(self, chosen: Adaptation, samples: Samples, target: Target, seed: int) -> Any:
        return chosen.apply(self.model_, TrainingSet(samples.examples, target, self._features(samples), seed))

    def _features(self, samples: Samples) -> Any:
        """pooling -> features of the windows by the backbone as it was given, each computed once."""
        known = self.model_, self.digest_, samples.examples
        return cache(lambda pool: cached_features(*known, pool, self.batch_size, self.memory))

    def _window_groups(self, samples: Samples, groups: Any) -> np.ndarray | None:
        """Groups of the windows: those given, or the subjects that the input names, or else samples of several windows.

        Windows of one sample in two inner folds would make penalty and temperature blind to overfitting.
        """
        if groups is None and samples.subjects is None:
            return samples.owner.astype(str) if samples.n_samples < len(samples.owner) else None
        names = pd.Series(np.asarray(samples.subjects if groups is None else groups), dtype=object)
        check_lengths(names.to_numpy(), samples.n_samples, "group", "groups")
        unknown = int((names.isna() | (names == "")).sum())
        if unknown:
            problem = f"the subject of {unknown} of {len(names)} samples is not known"
            raise LabelError(problem, field="groups", fix="name it, or leave those samples out")
        return names.to_numpy().astype(str)[samples.owner]

    # Files

    def save(self, folder: Any) -> Path:
        """Write the fitted estimator as an adapter folder (PEFT's layout), without pickle; `load` reads it.

        The base model is named, not copied: `model` must be a preset, path or Hub id.
        """
        check_is_fitted(self, "adapted_")
        return save_estimator(self, folder)

    @classmethod
    def load(cls, folder: Any, **changes: Any):
        """A fitted estimator from `save` or from `brainof adapt`; `changes` replace its arguments."""
        return load_estimator(cls, folder, changes)


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
        """Each fitted member and its outputs (passes, n_samples, K), averaged over the windows of a sample."""
        check_is_fitted(self, "adapted_")
        samples = self._samples(X)
        given: Any = {"features": self._features(samples), "batch_size": self.batch_size, "samples": passes}
        members = self.adapted_.members()
        return [(member, samples.average(member.outputs(samples.examples, **given))) for member in members]

    def _varied(self, X: Any, passes: int) -> list[tuple[Adapted, np.ndarray]]:
        """Outputs that differ by what is uncertain: over members, or with one member over passes with dropout."""
        check_is_fitted(self, "adapted_")
        return self._outputs(X, 1 if len(self.adapted_.members()) > 1 else passes)

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
