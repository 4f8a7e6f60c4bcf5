"""The data of a suite: found below a root, prepared into corpora, or named as absent with their access page."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ..corpus import Corpus
from ..datasets import find_recipe
from ..datasets.recipe import Recipe
from ..datasets.run import prepare
from ..errors import BrainOFError
from ..simulate import task_parameters
from ..simulate.write import write
from .resolution import rated
from .sides import two_sides
from .suite import SuiteTask

log = logging.getLogger(__name__)


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
        """The task and its corpus, of two sides where the task has them (see `two_sides`)."""
        if not self.task.sided:
            return self.task, self.corpus
        source = None if self.source is None else (self.source.task, self.source.corpus)
        return two_sides(self.task, self.corpus, source, self.place)


def open_task(task: SuiteTask, root: Path, out: Path) -> Opened | Absent:
    """The data of a task, prepared where that was not done before."""
    found = _opened(task, root, out)
    if isinstance(found, Absent):
        return found
    elsewhere = task.train_on is not None and task.train_on.recipe
    source = open_task(task.source(), root, out) if elsewhere else None
    return source if isinstance(source, Absent) else Opened(*found, source, out / "corpora" / f"{task.name} sides")


def _opened(task: SuiteTask, root: Path, out: Path) -> tuple[SuiteTask, Corpus] | Absent:
    if task.simulate is not None:
        return _simulated(task, out)
    recipe = find_recipe(task.dataset_name)
    task = task.resolved(recipe)
    wanted = [(recipe, task.folder)]
    if task.fuse:
        wanted.append((find_recipe(task.fuse.rpartition("/")[0]), task.fuse_folder))
    place = out / "corpora" / "+".join(recipe.name for recipe, _ in wanted)
    for recipe, given in wanted:
        names = [name for name in (given, recipe.name) if name]
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder is None:
            return Absent(task.name, recipe.name, f"no folder {' or '.join(names)} in {root}", access(recipe))
        try:
            corpus = at_rates(task, recipe, folder, place)
        except BrainOFError as error:
            return Absent(task.name, recipe.name, str(error), access(recipe))
    return task, corpus


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


def _simulated(task: SuiteTask, out: Path) -> tuple[SuiteTask, Corpus]:
    cohort = task.simulate
    assert cohort is not None
    values = {"meg": "neuromag102", **cohort.changes, "modalities": (cohort.modality,)}
    parameters = task_parameters(cohort.task, subjects=cohort.subjects, seed=cohort.seed, **values)
    place = out / "simulated" / f"{cohort.task}-{cohort.modality}-{cohort.subjects}-{cohort.seed}"
    if cohort.changes:
        place = place.with_name(f"{place.name}-{task.name}")
    folder = write(parameters, place / "cohort")
    recipe = Recipe.load(folder / f"recipe_{cohort.modality}.yaml")
    return task.resolved(recipe), at_rates(task, recipe, folder, place / "corpus")
