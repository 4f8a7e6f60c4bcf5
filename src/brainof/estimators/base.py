"""What the three estimators share: the model behind them, checks of input and labels, features, scikit-learn tags."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_memory, column_or_1d, validate_data

from ..adaptation import Adaptation, Target, TrainingSet, adaptation
from ..adaptation.saving import model_digest
from ..errors import ConfigError, LabelError, StorageError
from ..inference.batches import patch_of, pooled
from ..inference.examples import Subset
from ..inference.windows import InputOptions, Samples, as_input, is_array, read_samples
from ..utils.modules import move
from ..utils.values import counted
from . import saving

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


def stored(key: str, value: np.ndarray) -> np.ndarray:
    """What joblib keeps under `key` (the value is not part of it)."""
    return value


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
        self.model_, self.contract_ = saving.load_model(self.model, self.random_state)
        move(self.model_, self.device)
        self.digest_ = model_digest(self.model_)
        return chosen, seed

    def _options(self) -> InputOptions:
        arguments = {name: getattr(self, name) for name in _INPUT}
        return InputOptions(self.contract_, patch_of(self.model_, self.contract_), **arguments)

    def _samples(self, X: Any, reset: bool = False) -> Samples:
        X = as_input(X)
        if is_array(X):
            # scikit-learn's own checks of a table: shape, finiteness, number and names of features
            X = validate_data(self, X, dtype=np.float64, reset=reset)
        return read_samples(X, self._options())

    def _adapt(self, chosen: Adaptation, samples: Samples, target: Target, seed: int) -> Any:
        return chosen.apply(self.model_, TrainingSet(samples.examples, target, self._features(samples), seed))

    def _features(self, samples: Samples) -> Any:
        """pooling -> features of the windows by the backbone as it was given, each computed once.

        Those in `memory` are read, others are kept there, window by window: folds differ, windows do not.
        """
        examples = samples.examples

        @cache
        def features(pool: str) -> np.ndarray:
            if self.memory is None:
                return pooled(self.model_, examples, pool, self.batch_size)
            try:
                store = check_memory(self.memory).cache(stored, ignore=["value"], verbose=0)
            except OSError as error:
                text, fix = f"cannot keep features ({error.strerror})", "give a folder you may write to"
                raise StorageError(text, file=self.memory, field="memory", fix=fix) from None
            keys = [f"{self.digest_} {pool} {examples.key(row)}" for row in range(len(examples))]
            missing = np.flatnonzero([not store.check_call_in_cache(key, None) for key in keys])
            if len(missing):
                computed = pooled(self.model_, Subset(examples, missing), pool, self.batch_size)
                for row, value in zip(missing, computed, strict=True):
                    store(keys[row], value)
            return np.stack([store(key, None) for key in keys])

        return features

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

    save = saving.save
    load: ClassVar[Any] = classmethod(saving.load)


def checked_labels(y: Any) -> np.ndarray:
    """Labels of classes, shape (n_samples,); LabelError where there are none or some are missing."""
    if y is None:
        raise LabelError("requires y to be passed, but the target y is None", field="y")
    labels = column_or_1d(y.to_numpy() if isinstance(y, pd.Series) else y, warn=True)
    missing = pd.isna(labels)
    if missing.any():
        text = f"Input y contains NaN: {int(missing.sum())} of {len(labels)} labels are missing"
        raise LabelError(text, field="y", fix="leave those samples out")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise LabelError("Input y contains infinity", field="y", fix="leave those samples out")
    try:
        check_classification_targets(labels)
    except ValueError as error:
        raise LabelError(f"{error}", field="y", fix="give a class each, or use BrainOFRegressor for numbers") from None
    return labels


def checked_values(y: Any) -> np.ndarray:
    """Target values (n_samples,) or (n_samples, n_targets); LabelError as `checked_labels`, and for a single sample."""
    if y is None:
        raise LabelError("requires y to be passed, but the target y is None", field="y")
    kind = np.asarray(y).dtype.kind
    if kind in "cmM":  # numpy would count nanoseconds, and drop what is imaginary
        complex_ = "Complex data not supported: targets are complex numbers"
        text = complex_ if kind == "c" else "targets are dates or durations"
        raise LabelError(text, field="y", fix="give one number each")
    try:
        values = np.asarray(y, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] == 1:
            values = column_or_1d(values)
    except (TypeError, ValueError) as error:
        raise LabelError(f"targets are not numbers ({error})", field="y", fix="give one number each") from None
    if len(values) == 1:
        raise LabelError("1 sample is too few to fit", field="y", fix="give two or more")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        text = f"Input y contains NaN or infinity in {wrong} of {values.size} targets"
        raise LabelError(text, field="y", fix="leave those samples out")
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(values.var(axis=0)).all():
            text = f"targets up to {np.abs(values).max():.3g} are too large, their variance overflows"
            raise LabelError(text, field="y", fix="scale them")
    return values


def check_lengths(values: np.ndarray, n_samples: int, what: str, field: str) -> None:
    """A LabelError where there is not one value per sample."""
    if len(values) != n_samples:
        text = f"{counted(len(values), what)} for {counted(n_samples, 'sample')}"
        raise LabelError(text, field=field, fix="give one per sample")
