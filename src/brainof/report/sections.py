"""Sections of a page about a run: its data, its training, its reconstructions, its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..corpus import Corpus, subjects
from ..explain.reconstruction import reconstruct
from ..pretraining.config import PretrainConfig
from ..pretraining.masking import Masking
from ..pretraining.objective import Objective
from ..release import load
from .page import Image, Section, Table
from .results import reconstructions


def data_table(corpus: Corpus) -> pd.DataFrame:
    """One line per dataset: modality, subjects, recordings, windows, hours, channels, rate."""
    index = corpus.index[corpus.index["view"] == "pretrain"]
    lines = []
    for name, part in index.groupby("dataset", observed=True):
        channels = sorted({int(value) for value in part["n_channels"]})
        rates = sorted({round(float(value), 3) for value in part["sfreq"]})
        lines.append(
            {
                "dataset": str(name),
                "modality": str(part["modality"].iloc[0]),
                "subjects": int(subjects(part).nunique()),
                "recordings": int(part["recording"].nunique()),
                "windows": len(part),
                "hours": float((part["n_times"] / part["sfreq"]).sum() / 3600),
                "channels": _span(channels),
                "Hz": _span(rates),
            }
        )
    return pd.DataFrame(lines)


def data_section(corpus: Corpus, text: Sequence[str]) -> Section:
    """What the model was fed."""
    return Section("Recordings", text, tables=[Table(data_table(corpus), "Windows of the pretraining view", digits=2)])


def reconstruction_section(corpus: Corpus, run: Path) -> Section:
    """Hidden patches put back by the model: one window of the largest dataset of each modality."""
    model, _ = load(run)
    config = PretrainConfig.load(run / "config.yaml")
    objective = Objective(model, config.objective)
    rates = model.config.rates
    masking = Masking(config.mask, model.config.patch, max_tokens=config.max_tokens, rates=rates)
    index = corpus.index[corpus.index["view"] == "pretrain"]
    examples = []
    for modality, part in index.groupby("modality", observed=True):
        name = part["dataset"].value_counts().index[0]
        rows = part.index[part["dataset"] == name][:1].tolist()
        rng = np.random.default_rng(config.seed)
        batch = corpus.batch(rows, patch=model.config.patch)
        masked = masking.plan(batch, rng, fourier=False)
        if masked is not None:
            examples += reconstruct(objective, masked, title=f"{name} ({modality})")
    caption = "Grey: signal. Colour: what the model puts into hidden patches, from the visible ones."
    return Section("Reconstructions", images=[Image(reconstructions(examples), caption)])


def _span(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if values[0] == values[-1] else f"{values[0]:g} to {values[-1]:g}"
