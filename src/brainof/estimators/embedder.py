"""BrainOFEmbedder: vectors from EEG, MEG and fMRI windows, as a scikit-learn transformer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..adaptation import Target
from ..errors import ConfigError, LabelError
from ..inference.batches import pooled
from ..inference.examples import Subset
from ..inference.windows import Samples
from .base import BrainOFEstimator, check_lengths, checked_labels, checked_values


@dataclass(eq=False, repr=False, kw_only=True)
class BrainOFEmbedder(TransformerMixin, BrainOFEstimator):
    """Pooled latents of a pretrained Brain-OF model, one vector per sample.

    `X` may be Epochs, Recordings, files, `CorpusRows` or arrays (n, channels, times); see `BrainOFClassifier`.

    Parameters
    ----------
    model : str, path, module or (module, InputContract)
        A preset (random weights), a run or release folder, a Hub id, or a module with `forward_features` and `pool`.
    adapt : str, dict or Adaptation
        "frozen", or an adaptation that changes the backbone ("lora", "full"), for which `fit` needs `y`.
    pool : str
        Pooling over latents: "auto" is the model's own; see `BrainOF.pool`.
    {parameters}

    Attributes
    ----------
    model_, contract_ : module, InputContract or None
    encoder_ : module
        The backbone that embeds: `model_`, or what the adaptation made of it.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from brainof import BrainOFEmbedder
    >>> X = 2e-5 * np.random.default_rng(0).standard_normal((4, 3, 256))
    >>> BrainOFEmbedder("debug", sfreq=128, channels=["Fz", "Cz", "Pz"], random_state=0).fit_transform(X).shape
    (4, 64)
    """

    adapt: Any = "frozen"
    pool: str = "auto"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # embeddings are float32, whatever comes in
        return tags

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> BrainOFEmbedder:
        """Load the model and, where the adaptation changes it, adapt it to `y`."""
        chosen, seed = self._start()
        samples = self._samples(X, reset=True)
        self.encoder_ = self.model_
        if self.adapt != "frozen":
            if chosen.frozen:
                raise ConfigError(f"{chosen.name!r} leaves the embeddings as they are", field="adapt", fix="use frozen")
            if chosen.several:
                raise ConfigError("an ensemble has several embeddings", field="adapt", fix="use lora or full")
            if y is None:
                raise LabelError(f"adapt={chosen.name!r} learns from labels, y is None", field="y")
            groups = self._window_groups(samples, groups)
            numbers = np.asarray(y)
            continuous = numbers.dtype.kind == "f" and (numbers % 1 != 0).any()
            values = checked_values(y) if continuous else checked_labels(y)
            check_lengths(values, samples.n_samples, "label", "y")
            target = (Target.values if continuous else Target.classes)(values[samples.owner], groups)
            self.encoder_ = self._adapt(chosen, samples, target, seed).model
        self._width = self._embed(replace(samples, examples=Subset(samples.examples, np.arange(1)))).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings (n_samples, n_features), float32."""
        check_is_fitted(self, "encoder_")
        samples = self._samples(X)
        return samples.average(self._embed(samples)).astype(np.float32)

    def _embed(self, samples: Samples) -> np.ndarray:
        if self.encoder_ is self.model_:
            return self._features(samples)(self.pool)
        return pooled(self.encoder_, samples.examples, self.pool, self.batch_size)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features: e0000, e0001, ... as in files of embeddings."""
        check_is_fitted(self, "encoder_")
        return np.array([f"e{number:04d}" for number in range(self._width)], dtype=object)
