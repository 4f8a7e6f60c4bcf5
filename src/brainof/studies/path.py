"""The steps that studies share: prepare recipes, evaluate a run on the tasks of its datasets, write the page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..corpus import Corpus, people
from ..errors import LabelError, did_you_mean
from ..evaluation import Task, evaluate_task, recipe_tasks, task_rows
from ..evaluation.embed import embed
from ..model import BrainOF
from ..prepare import find_recipe
from ..prepare.run import Summary, prepare
from ..pretraining.config import PretrainConfig
from ..pretraining.health import deaf_datasets
from ..pretraining.mtfm import MTFM
from ..pretraining.run_folder import read_metrics
from ..release import load
from ..report.examples import reconstruct
from ..report.page import Image, Section, Table
from ..report.results import reconstructions, scores
from ..report.tables import paired_table, score_table
from ..report.training import expert_load, explained_variance, loss_curves

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A dataset on disk: a recipe (name or file) and the folder it describes."""

    recipe: str | Path
    root: Path


def timed(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say` with the seconds since now before each line."""
    started = time.perf_counter()

    def tell(text: str) -> None:
        say(f"[{time.perf_counter() - started:6.1f} s] {text}")

    return tell


def prepare_sources(sources: Iterable[Source], corpus: str | PathLike[str]) -> Iterator[Summary]:
    """Prepare several datasets into one corpus, one after the other; what is there already is kept."""
    for source in sources:
        summary = prepare(find_recipe(source.recipe), source.root, corpus)
        log.info(summary.text())
        yield summary


def choose_tasks(corpus: Corpus, names: Iterable[str], **changes: Any) -> list[Task]:
    """Tasks of the recipes in a corpus by name (`dataset/task`); `changes` replace fields of each.

    Raises
    ------
    LabelError
        The corpus has no task of that name.
    """
    known = {task.name: task for task in recipe_tasks(corpus)}
    for name in (names := list(names)):
        if name not in known:
            raise LabelError("no such task in the corpus", file=corpus.root, field=name, fix=did_you_mean(name, known))
    return [known[name].model_copy(update=changes) for name in names]


def evaluate_run(
    corpus: Corpus,
    run: Path,
    tasks: Sequence[tuple[Task, str]],
    *,
    untrained: int = 3,
    transductive: Collection[str] = (),
    n_permutations: int = 200,
) -> list[dict[str, Any]]:
    """Probe frozen embeddings of a run, beside the same model untrained, classical baselines, chance and a null.

    Parameters
    ----------
    corpus : Corpus
    run : Path
        A finished run.
    tasks : sequence of (Task, pooling)
        Questions, each with the pooling of the latents.
    untrained : int
        Random initialisations of the same architecture.
    transductive : collection of str
        Features that are also scored after recentring per person, see `evaluate_task`.
    n_permutations : int
        Labellings of the null.
    """
    model, _ = load(run)
    models = [model]
    for seed in range(untrained):
        torch.manual_seed(1000 + seed)
        models.append(BrainOF(model.config).eval())
    rows: list[dict[str, Any]] = []
    for task, pool in tasks:
        chosen = task_rows(corpus.index, task)
        values = [embed(corpus, each, rows=chosen, pool=pool).values for each in models]
        features: dict[str, Any] = {"pretrained": values[0]} | ({"untrained": values[1:]} if untrained else {})
        rows += evaluate_task(corpus, task, features, transductive=transductive, n_permutations=n_permutations)
    return rows


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
                "people": int(people(part).nunique()),
                "recordings": int(part["recording"].nunique()),
                "windows": len(part),
                "hours": float((part["n_times"] / part["sfreq"]).sum() / 3600),
                "channels": _span(channels),
                "Hz": _span(rates),
            }
        )
    return pd.DataFrame(lines)


def _span(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if values[0] == values[-1] else f"{values[0]:g} to {values[-1]:g}"


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
    if checks and (deaf := deaf_datasets(checks[-1], margin)):
        text.append(f"At the end of this run the reconstruction does not use the latents of: {', '.join(deaf)}.")
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
    objective = MTFM(model, config.mask, config.objective)
    index = corpus.index[corpus.index["view"] == "pretrain"]
    examples = []
    for modality, part in index.groupby("modality", observed=True):
        name = part["dataset"].value_counts().index[0]
        rows = part.index[part["dataset"] == name][:1].tolist()
        rng = np.random.default_rng(config.seed)
        batch = corpus.batch(rows, patch=model.config.patch)
        examples += reconstruct(objective, batch, rng, title=f"{name} ({modality})", max_tokens=config.max_tokens)
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
