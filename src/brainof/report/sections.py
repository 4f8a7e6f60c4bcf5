"""Sections of a page about a run: its data, its training, its reconstructions, its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..corpus import Corpus
from ..explain.reconstruction import reconstruct
from ..pretraining.config import PretrainConfig
from ..pretraining.masking import Masking
from ..pretraining.objective import Objective
from ..pretraining.record import data_record
from ..release import load
from .page import Image, Section, Table
from .results import reconstructions
from .tables import DATA, renamed


def data_table(corpus: Corpus) -> pd.DataFrame:
    """One line per dataset: modality, subjects, recordings, windows, hours, channels, rate."""
    index = corpus.index[corpus.index["view"] == "pretrain"]
    table = renamed(data_record(corpus, index), DATA).drop(columns="license", errors="ignore")
    for name, column in (("channels", "n_channels"), ("Hz", "sfreq")):
        table[name] = [_span(values) for _, values in index.groupby("dataset", observed=True)[column]]
    return table


def data_section(corpus: Corpus, text: Sequence[str]) -> Section:
    """What the model was fed."""
    return Section("Recordings", text, tables=[Table(data_table(corpus), "Windows of the pretraining view", digits=2)])


def reconstruction_section(corpus: Corpus, run: Path) -> Section:
    """Hidden patches put back by the model: one window of the largest dataset of each modality."""
    model, _ = load(run)
    config = PretrainConfig.load(run / "config.yaml")
    objective = Objective(model, config.objective)
    rates = model.config.rates
    masking = Masking(config.mask, model.config.patch, rates=rates)  # all channels, so that names are theirs
    index = corpus.index[corpus.index["view"] == "pretrain"]
    examples = []
    for modality, part in index.groupby("modality", observed=True):
        name = part["dataset"].value_counts().index[0]
        rows = part.index[part["dataset"] == name][:1].tolist()
        rng = np.random.default_rng(config.seed)
        batch = corpus.batch(rows, patch=model.config.patch)
        masked = masking.plan(batch, rng, fourier=False)
        if masked is not None:
            names = corpus.channels(index.loc[rows[0], "channel_set"]).names
            (example,) = reconstruct(objective, masked, names=names)
            examples.append(replace(example, title=f"{name} ({modality}): R2 {example.r2:.2f} of hidden patches"))
    caption = (
        "Grey: signal, in SD of the recording. Colour: what the model puts into hidden patches, from the visible ones. "
        "R2 of 1 is perfect, of 0 no better than zeros."
    )
    return Section("Reconstructions", images=[Image(reconstructions(examples), caption)])


def _span(values: pd.Series) -> str:
    low, high = (f"{round(float(value), 3):g}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
