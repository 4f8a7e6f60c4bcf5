"""The data of a suite: found below a root and prepared, taken from a corpus, or named as absent with their access page.

Where a task is trained on one kind of signal and tested on another (dataset, channels, sampling rate, noise), both
sides are written into a corpus of their own, so that everything behind it (features, read-outs, leak checks) sees
ordinary windows. Its labels `fold_side` and `fold_window` say which side a window is of, and which windows are one; a
recipe has labels called `side`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..channels import Channels
from ..corpus import Corpus, CorpusWriter, Windows
from ..corpus.index import LABEL
from ..datasets import find_recipe
from ..datasets.recipe import Recipe
from ..datasets.run import prepare
from ..errors import BrainOFError, LabelError, check_known, did_you_mean
from ..model.resolution import resample
from ..prepare.windows import Window
from ..simulate import CohortParameters, task_parameters
from ..simulate.write import write
from ..utils.files import read_json, write_json
from ..utils.values import listed
from .protocol import task_rows
from .resolution import rated
from .suite import Cohort, Side, SuiteTask

log = logging.getLogger(__name__)

TRAIN, TEST = "train", "test"
SIDE, WINDOW = f"{LABEL}fold_side", f"{LABEL}fold_window"
_ENTITIES = ("dataset", "modality", "subject", "session", "task", "run", "config")


@dataclass(frozen=True)
class Absent:
    """A task whose data are not here, why, and where one gets them."""

    task: str
    dataset: str
    why: str
    access: str


@dataclass(frozen=True, eq=False)
class Opened:
    """A task, completed from its recipe, its data, and where `train_on` names one the task and data of that side."""

    task: SuiteTask
    corpus: Corpus
    source: Opened | None
    place: Path

    def sides(self) -> tuple[SuiteTask, Corpus]:
        """The task and its corpus; of a task with sides one with both, kept at `place` while neither changes.

        A LabelError where a channel is not in a recording, or the two datasets name other classes.
        """
        task, corpus, place = self.task, self.corpus, self.place
        if not task.sided:
            return task, corpus
        other, other_corpus = (task, corpus) if self.source is None else (self.source.task, self.source.corpus)
        rows, other_rows = task_rows(corpus.index, task), task_rows(other_corpus.index, other)
        if task.kind == "classification":
            own = set(corpus.index[task.column].iloc[rows].astype(str))
            theirs = set(other_corpus.index[other.column].iloc[other_rows].astype(str))
            if unknown := sorted(own - theirs):
                text = f"{other.recipe} has no class {unknown[0]!r}"
                raise LabelError(text, field=f"{task.name}.train_on", fix=did_you_mean(unknown[0], theirs))
        sides = [
            (TRAIN, task.train_on or Side(), other, other_corpus, other_rows),
            (TEST, task.test_on or Side(), task, corpus, rows),
        ]
        marker, digest = place / "sides.json", _digest(sides)
        if not (marker.exists() and read_json(marker) == {"digest": digest}):
            shutil.rmtree(place, ignore_errors=True)
            with CorpusWriter(place) as writer:
                for name, side, asked, windows, chosen in sides:
                    _write_side(writer, name, side, asked, task, windows, chosen)
                    for dataset in windows.index["dataset"].iloc[chosen].astype(str).unique():
                        writer.add_dataset(dataset, windows.datasets[dataset])
            write_json(marker, {"digest": digest})
        return task.model_copy(update={"dataset": None, "modality": None}), Corpus(place)


def open_task(task: SuiteTask, root: Path, out: Path) -> Opened | Absent:
    """The data of a task, prepared where that was not done before."""
    found = _found(task, root, out) if task.simulate is None else _simulated(task, task.simulate, out)
    if isinstance(found, Absent):
        return found
    source, about = None, task.train_on
    if about is not None and about.recipe:
        other = SuiteTask(name=task.name, recipe=about.recipe, folder=about.folder, simulate=about.simulate)
        source = open_task(other, root, out)
    return source if isinstance(source, Absent) else Opened(*found, source, out / "corpora" / f"{task.name} sides")


def _found(task: SuiteTask, root: Path, out: Path) -> tuple[SuiteTask, Corpus] | Absent:
    recipe = find_recipe(task.dataset_name)
    task = task.resolved(recipe)
    wanted = [(recipe, task.folder)]
    if task.fuse:
        wanted.append((find_recipe(task.fuse.rpartition("/")[0]), task.fuse_folder))
    place = out / "corpora" / "+".join(recipe.name for recipe, _ in wanted)
    for recipe, given in wanted:
        folder = place_of(recipe, given, root)
        if folder is None:
            return Absent(task.name, recipe.name, _lacking(recipe, given, root), access(recipe))
        try:
            corpus = Corpus(root) if folder == root else at_rates(task, recipe, folder, place)
        except BrainOFError as error:
            return Absent(task.name, recipe.name, str(error), access(recipe))
    return task, corpus


def place_of(recipe: Recipe, given: str, root: Path) -> Path | None:
    """Folder of a dataset below a root, or the root itself where it is a corpus that holds it; None: it is not here."""
    if (root / "corpus.json").is_file():
        return root if recipe.name in Corpus(root).datasets else None
    names = (name for name in (given, recipe.name) if name)
    return next((root / name for name in names if (root / name).is_dir()), None)


def _lacking(recipe: Recipe, given: str, root: Path) -> str:
    if (root / "corpus.json").is_file():
        held = listed(sorted(Corpus(root).datasets)) or "nothing"
        return f"the corpus {root} holds {held} and no {recipe.name}, which `brainof prepare` adds"
    return f"no folder {' or '.join(name for name in (given, recipe.name) if name)} in {root}"


def at_rates(task: SuiteTask, recipe: Recipe, folder: Path, place: Path) -> Corpus:
    """As `prepared`, and beside the dataset the same at each rate that the changes of the task name."""
    for rate in task.rates:
        steps = {**recipe.prepare, "resample": {"sfreq": rate}}
        other = recipe.model_copy(update={"name": rated(recipe.name, rate), "prepare": steps})
        prepared(other, folder, place, task.recordings)
    return prepared(recipe, folder, place, task.recordings)


def prepared(recipe: Recipe, folder: Path, out: Path, limit: int | None = None) -> Corpus:
    """The corpus of a dataset; recordings that it holds already are kept."""
    summary = prepare(recipe, folder, out, limit=limit)
    log.info(summary.text())
    return Corpus(out)


def access(recipe: Recipe) -> str:
    """Where and on what terms the data are had."""
    return f"{recipe.url or 'no page known'} ({recipe.access or 'open'})"


def _simulated(task: SuiteTask, cohort: Cohort, out: Path) -> tuple[SuiteTask, Corpus]:
    place = out / "simulated" / f"{cohort.task}-{cohort.modality}-{cohort.subjects}-{cohort.seed}"
    if cohort.changes:
        place = place.with_name(f"{place.name}-{task.name}")
    folder = write(parameters_of(cohort), place / "cohort")
    recipe = Recipe.load(folder / f"recipe_{cohort.modality}.yaml")
    return task.resolved(recipe), at_rates(task, recipe, folder, place / "corpus")


def parameters_of(cohort: Cohort) -> CohortParameters:
    """All parameters of a simulated cohort."""
    values = {"meg": "neuromag102", **cohort.changes, "modalities": (cohort.modality,)}
    return task_parameters(cohort.task, subjects=cohort.subjects, seed=cohort.seed, **values)


def _write_side(
    writer: CorpusWriter, name: str, side: Side, asked: SuiteTask, task: SuiteTask, corpus: Windows, rows: np.ndarray
) -> None:
    """One side: each recording under its name and that of the side."""
    index = corpus.index.iloc[rows].assign(_row=rows, _number=np.arange(len(rows)))
    labels = [str(column) for column in index if str(column).startswith(LABEL)]
    for _, own in index.groupby(["dataset", "modality", "recording"], sort=False, observed=True):
        first = own.iloc[0]
        channels = corpus.channels(str(first["channel_set"]))
        picks = _picks(channels, side, f"{task.name}.{name}_on.channels")
        rate = float(first["sfreq"])
        windows = []
        for record in own.to_dict("records"):
            data = corpus.read(record["_row"])[picks].astype(np.float32)
            told = {column.removeprefix(LABEL): record[column] for column in labels if pd.notna(record[column])}
            told |= {task.label: record[asked.column]}
            told |= {SIDE.removeprefix(LABEL): name, WINDOW.removeprefix(LABEL): str(record["_number"])}
            windows.append(Window(changed(data, rate, side, record["_number"]), record["onset"], told, task.view))
        about = {key: first[key] for key in _ENTITIES if pd.notna(first[key])}
        about |= {"recording": f"{first['recording']} ({name})", "sfreq": side.sfreq or rate}
        good = np.frombuffer(str(first["good"]).encode(), np.uint8)[picks] == ord("1")
        writer.add(about, channels.take(picks), windows, good)


def changed(data: np.ndarray, sfreq: float, side: Side, seed: int) -> np.ndarray:
    """A window (C, T) with the noise and at the rate of a side, as strong as before.

    The noise is white and `side.snr` dB below each channel's variance in the window; the sum is scaled back to that
    variance, as normalising the recording would.
    """
    if side.snr is not None:
        noise = np.random.default_rng([2602, seed]).standard_normal(data.shape).astype(np.float32)
        power = 10 ** (-side.snr / 10)
        noise *= np.sqrt(power) * data.std(axis=1, keepdims=True)
        data = (data + noise) / np.float32(np.sqrt(1 + power))
    if side.sfreq is not None:
        data = resample(torch.from_numpy(data), sfreq, side.sfreq).numpy()
    return data


def _picks(channels: Channels, side: Side, field: str) -> np.ndarray:
    """Numbers of the channels of a side: those that it names, or so many, spread over the table."""
    if isinstance(side.channels, int):
        n = min(side.channels, len(channels))
        return np.arange(n) * len(channels) // n
    wanted = side.channels or channels.names
    for name in wanted:
        check_known(name, channels.names, LabelError, "no channel {!r}", field=field)
    return np.array([channels.names.index(name) for name in wanted])


def _digest(sides: list) -> str:
    """Of everything that the two sides are made of."""
    state = hashlib.sha256()
    for name, side, asked, corpus, rows in sides:
        state.update(json.dumps([SIDE, name, side.to_dict(), asked.to_dict()], sort_keys=True).encode())
        for column in ("recording", "onset", "crc32c", asked.column):
            state.update("\n".join(corpus.index[column].iloc[rows].astype(str)).encode())
    return state.hexdigest()[:24]
