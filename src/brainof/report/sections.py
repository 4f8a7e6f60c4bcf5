"""Sections of a page about a run: its data, its training, its reconstructions, its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..corpus import Corpus, subjects
from ..explain.reconstruction import reconstruct
from ..pretraining.config import PretrainConfig
from ..pretraining.health import datasets_ignoring_latents
from ..pretraining.masking import Masking
from ..pretraining.objective import Objective
from ..pretraining.run_folder import read_metrics
from ..release import load
from .page import Image, Section, Table
from .results import reconstructions, scores
from .tables import paired_table, score_table
from .training import expert_load, explained_variance, loss_curves


def data_table(corpus: Corpus) -> pd.DataFrame:
    """One line per dataset: modality, people, recordings, windows, hours, channels, rate."""
    index = corpus.index[corpus.index["view"] == "pretrain"]
    lines = []
    for name, part in index.groupby("dataset", observed=True):
        channels = sorted({int(value) for value in part["n_channels"]})
        rates = sorted({round(float(value), 3) for value in part["sfreq"]})
        lines.append(
            {
                "dataset": str(name),
                "modality": str(part["modality"].iloc[0]),
                "people": int(subjects(part).nunique()),
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


def training_section(run: Path) -> Section:
    """Loss curves, explained variance and expert load of a run."""
    rows = read_metrics(run / "metrics.jsonl")
    seconds = max((row["seconds"] for row in rows if "seconds" in row), default=0.0)
    speed = np.median([row["windows_per_second"] for row in rows if "windows_per_second" in row])
    text = [
        f"{max(row['step'] for row in rows)} steps in {seconds:.0f} s, {speed:.0f} windows per second (median).",
        "A loss alone does not show that anything was learned: a decoder that ignores the latents has a plausible one. "
        "What shows it is the explained variance of hidden patches with the right latents (solid) against latents of "
        "other windows (dotted).",
    ]
    checks = [row["health"] for row in rows if "health" in row]
    margin = PretrainConfig.load(run / "config.yaml").health_margin
    if checks and (ignoring := datasets_ignoring_latents(checks[-1], margin)):
        text.append(f"At the end of this run the reconstruction does not use the latents of: {', '.join(ignoring)}.")
    images = [
        Image(loss_curves(rows), "Loss of hidden patches in time and in frequency, per modality"),
        Image(explained_variance(rows), "Explained variance of hidden patches"),
        Image(expert_load(rows), "Load of the experts"),
    ]
    return Section("Pretraining", text, images)


def reconstruction_section(corpus: Corpus, run: Path) -> Section:
    """Hidden patches put back by the model: one window of the largest dataset of each modality."""
    model, _ = load(run)
    config = PretrainConfig.load(run / "config.yaml")
    objective = Objective(model, config.objective)
    masking = Masking(config.mask, model.config.patch, max_tokens=config.max_tokens)
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


def score_section(rows: Sequence[dict[str, Any]], text: Sequence[str]) -> Section:
    """Scores with chance, nulls and baselines, and the comparison per person."""
    images = [
        Image(scores(rows), "Score with standard error over people; dashed: chance; shaded: label-permutation null")
    ]
    tables = [
        Table(score_table(rows), "Scores (windows)"),
        Table(paired_table(rows), "Pretrained against each other set of features, per person"),
    ]
    return Section("What the frozen features decode", text, images, tables)


def _span(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if values[0] == values[-1] else f"{values[0]:g} to {values[-1]:g}"
