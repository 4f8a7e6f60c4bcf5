"""Whitening within people, estimated at the end of a run from training windows (docs/decisions/0113)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..corpus import Windows
from ..errors import ConfigError, did_you_mean
from ..model import BrainOF
from ..model.config import BrainOFConfig, Output
from ..model.whitening import Whitening
from ..utils.modules import evaluating
from .config import PretrainConfig

#: Windows at a time
WINDOWS = 16


def whiten(model: BrainOF, corpora: Windows, rows: pd.DataFrame, config: PretrainConfig) -> None:
    """Estimate the whitening of a trained model from the training windows of the datasets in `config.whiten`."""
    for modality, output in model.config.whitening.items():
        own = rows_to_whiten(rows, config, modality)
        if len(own):
            people, datasets = (own[name].astype(str).to_numpy() for name in ("subject", "dataset"))
            whitening = model.whitening[modality]
            assert isinstance(whitening, Whitening)
            whitening.fit(latents_of(model, corpora, own, output), people, datasets)


def rows_to_whiten(rows: pd.DataFrame, config: PretrainConfig, modality: str) -> pd.DataFrame:
    """The training windows of a modality from which whitening is estimated."""
    return rows[rows["dataset"].isin(config.whiten) & (rows["modality"] == modality)]


def require_whitening(model: BrainOFConfig, config: PretrainConfig, rows: pd.DataFrame) -> None:
    """Refuse to whiten what the model does not, or by datasets without two windows of one person."""
    if config.whiten and not model.whitening:
        fix = "set model.whitening={fmri: connectivity}, or leave whiten out"
        raise ConfigError("the model has no latents to whiten", field="whiten", fix=fix)
    of = {modality: rows_to_whiten(rows, config, modality) for modality in model.whitening}
    for name in config.whiten:
        if not any(own[own["dataset"] == name].duplicated("subject").any() for own in of.values()):
            text = f"no two training windows of one person in {name!r} ({', '.join(of)})"
            raise ConfigError(text, field="whiten", fix=did_you_mean(name, set(rows["dataset"])))


def latents_of(model: BrainOF, corpora: Windows, rows: pd.DataFrame, output: Output) -> np.ndarray:
    """Latents of an output for whole windows, (N, l * D)."""
    own = model.config.latents_of(output)
    found: dict[int, np.ndarray] = {}
    with evaluating(model):
        for places in rows.groupby(["dataset", "n_channels", "n_times"], observed=True).indices.values():
            for start in range(0, len(places), WINDOWS):
                some = rows.index[places[start : start + WINDOWS]].tolist()
                latents_BLD = model.forward_features(corpora.batch(some, patch=model.config.patch))
                found.update(zip(some, latents_BLD[:, own].flatten(1).numpy(), strict=True))
    return np.stack([found[row] for row in rows.index])
