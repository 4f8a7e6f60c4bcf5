"""From corpora to what a run sees: rows kept in and out, sampling weights, and the InputContract they imply."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from ..channels import UNITS
from ..contract import InputContract, ModalityContract
from ..corpus import Corpora, select, split_subjects
from ..errors import ConfigError, did_you_mean
from .config import SamplingConfig

log = logging.getLogger(__name__)


def choose_rows(index: pd.DataFrame, sampling: SamplingConfig, patch: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and validation rows (people on one side only) of the `pretrain` view, shorter than a patch left out.

    Raises
    ------
    ConfigError
        A dataset named in the sampling configuration does not occur, or nothing is left.
    """
    known = set(index["dataset"])
    for field in ("weights", "exclude"):
        for name in getattr(sampling, field):
            if name not in known:
                raise ConfigError("no such dataset in the corpora", field=f"sampling.{field}.{name}", fix=did_you_mean(name, known))
    rows = select(index, view="pretrain", exclude_subjects=sampling.exclude)
    rows = rows[rows["n_times"] >= patch]
    if not len(rows):
        raise ConfigError("no windows to train on", field="corpus", fix=f"windows need {patch} samples or more")
    return split_subjects(rows, sampling.validation, seed) if sampling.validation else (rows, rows.iloc[:0])


def dataset_weights(rows: pd.DataFrame, sampling: SamplingConfig) -> dict[str, float]:
    """Sampling weight of each dataset; they sum to one.

    Datasets that are not named get windows ** temperature, scaled so that they and the named ones are comparable:
    an unnamed dataset of average size weighs 1 / number of datasets.
    """
    sizes = rows.groupby("dataset").size()
    free = sizes**sampling.temperature
    free = free / free.mean() / len(sizes)
    weights = {str(name): float(sampling.weights.get(str(name), value)) for name, value in free.items()}
    if sampling.modality_weights:
        modality_of = rows.groupby("dataset")["modality"].first().to_dict()
        for modality, share in sampling.modality_weights.items():
            inside = [name for name in weights if modality_of[name] == modality]
            if not inside:
                raise ConfigError("no dataset of this modality", field=f"sampling.modality_weights.{modality}")
            total = sum(weights[name] for name in inside)
            for name in inside:
                weights[name] *= share / total
    total = sum(weights.values())
    if total <= 0:
        raise ConfigError("all weights are zero", field="sampling.weights")
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def contract_of(corpora: Corpora, rows: pd.DataFrame, patch: int) -> InputContract:
    """The InputContract of a model that is trained on `rows`."""
    modalities: dict[str, ModalityContract] = {}
    for modality, part in rows.groupby("modality"):
        counts = part.groupby("dataset").size().sort_values(ascending=False)
        chains: dict[str, list[dict[str, Any]]] = {str(name): corpora.datasets[str(name)]["steps"] for name in counts.index}
        leading = str(counts.index[0])
        for name, steps in chains.items():
            if steps != chains[leading]:
                log.warning("%s was prepared unlike %s; the contract for %s records the latter", name, leading, modality)
        tables = [corpora.channels(digest) for digest in sorted(set(part["channel_set"]))]
        kinds = sorted({kind for table in tables for kind in table.types})
        seconds = part["n_times"] / part["sfreq"]
        modalities[str(modality)] = ModalityContract(
            units={kind: UNITS[kind] for kind in kinds},
            steps=chains[leading],
            sfreqs=sorted({round(float(value), 6) for value in part["sfreq"]}),
            window_seconds=(float(np.min(seconds)), float(np.max(seconds))),
            frames=sorted({table.frame for table in tables}),
            atlases={table.atlas: table.digest for table in tables if table.atlas},
        )
    return InputContract(patch=patch, modalities=modalities)
