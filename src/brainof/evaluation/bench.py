"""`evaluate`: a suite of tasks for models, beside random weights, classical features, controls and chance.

OUT/suite.json         the suite, so that results of two versions are never mixed
OUT/corpora/           the prepared datasets
OUT/features/          pooled features of every task and model, which anyone can score again
OUT/runs/              one file per run: task, model, read-out, option, seed and fold
OUT/results.parquet    one row per person, seed and pipeline, in MOABB's columns
OUT/summary.csv        one row per pipeline: score, intervals, gain over random weights, controls (.parquet too)
OUT/results.md         the page
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from ..contract import check_accept
from ..errors import BrainOFError, ConfigError
from ..paths import user_path
from ..utils.files import make_folder, read_json, write_atomically, write_json
from ..utils.progress import progress
from .entries import beside
from .entries import models as of_models
from .leaks import unseen_alone
from .questions import ask
from .sources import Absent, open_task
from .suite import Suite, find_suite
from .summary import Pipeline, collect, moabb_table, page, said, summary
from .transforms import Features
from .units import Unit, plan, run_unit, save, saved

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What stands on disk in `folder` after a call of `evaluate`.

    Attributes
    ----------
    results, summary : DataFrame
        One row per person, seed and pipeline, in MOABB's columns (`results.parquet`), and per pipeline (`summary.csv`).
    absent : list of Absent
        Tasks whose data are not here.
    refused : dict of task -> reason
        Tasks that cannot be asked of the data: a leak, labels that do not fit.
    """

    results: pd.DataFrame
    summary: pd.DataFrame
    absent: list[Absent]
    refused: dict[str, str]
    folder: Path

    @property
    def unfinished(self) -> int:
        """Runs that are not on disk: of other parts, or interrupted; none that were refused."""
        if not len(self.summary):
            return 0
        return int(self.summary.loc[self.summary["reason"] == "", "unfinished"].sum())


def evaluate(
    suite: str | PathLike[str] | Suite,
    models: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    root: str | PathLike[str] = "data",
    tasks: Sequence[str] = (),
    part: tuple[int, int] = (1, 1),
    accept: Collection[str] = (),
    unseen: bool = False,
    seeds: int | None = None,
    permutations: int | None = None,
    say: Callable[[str], None] = log.info,
) -> Evaluation:
    """Score models on a suite of tasks.

    Runs that are on disk are kept; the tables are made from what is on disk.

    Parameters
    ----------
    suite : str, path or Suite
        Name ("states"), name and version ("states@1.0"), or a YAML file.
    models : str or list of str
        What `brainof.load` takes: presets (random weights), run or release folders, Hub ids.
    out : path
    root : path
        Folder of the datasets, each in a folder named as the suite or its recipe says; or a corpus that holds them,
        which is taken as it was prepared.
    tasks : sequence of str
        Only these.
    part : (int, int)
        (i, n): the i-th of n shares of the runs, counted from 1.
    accept : collection of str
        Differences from a model's contract that are taken as they are, and "overlap": models that saw people of a task
        are scored and marked as transductive.
    unseen : bool
        Score nobody whom a model saw in pretraining: such people stay on the training sides. Without it a model that
        saw people of a task is not scored on it.
    seeds, permutations : int, optional
        Other numbers than the suite's.
    say : callable
        Called with a line of progress.

    Returns
    -------
    Evaluation

    Raises
    ------
    ConfigError
        Unknown suite, version or task, a part that does not exist, or OUT holds results of another suite.
    CheckpointError
        A model cannot be loaded.
    StorageError
        OUT cannot be written.

    Examples
    --------
    >>> import brainof
    >>> found = brainof.evaluate("real-small", "tiny", "runs/real-small", root="data")  # doctest: +SKIP
    >>> found.summary[["task", "entry", "score", "gain"]]  # doctest: +SKIP
    """
    number, parts = part
    if not 1 <= number <= parts:
        raise ConfigError(f"{number}/{parts}", field="part", fix="give I/N with I from 1 to N")
    check_accept([name for name in accept if name != "overlap"])
    whole = find_suite(suite)
    chosen = whole.only(list(tasks))
    folder, base = user_path(out), user_path(root)
    make_folder(folder)
    if (place := folder / "suite.json").exists():
        held, label = read_json(place), f"{whole.name} {whole.version}"
        if (other := f"{held.get('name')} {held.get('version')}") != label:
            text = f"holds results of {other}, not {label}"
            raise ConfigError(text, file=folder, field="out", fix="give another out=")
    names = [str(models)] if isinstance(models, (str, PathLike)) else [str(name) for name in models]
    entries = of_models(names, whole.random_weights, folder / "features", list(accept))
    n_seeds, n_permutations = seeds or whole.seeds, whole.permutations if permutations is None else permutations
    width = max((entry.width for entry in entries), default=0)
    units: list[Unit] = []
    absent: list[Absent] = []
    refused: dict[str, str] = {}
    for name, task in chosen.tasks.items():
        opened = open_task(task, base, folder)
        if isinstance(opened, Absent):
            absent.append(opened)
            say(f"{name}: {opened.why}; {opened.access}")
            continue
        try:
            asked, corpus = opened.sides()
            question = ask(unseen_alone(asked, corpus, names) if unseen else asked, corpus, n_seeds)
            units += plan(question, [*entries, *beside(question)], n_seeds, n_permutations, width)
        except BrainOFError as error:
            refused[name] = str(error)
            say(f"{name}: {error}")
    if units:  # without data there are no results to keep apart
        write_json(place, whole.to_dict())
    reasons = run(units, folder, part, say)
    found = {unit: reasons.get(str(unit.path(folder))) or saved(unit, folder) for unit in units}
    return written(whole, collect(found), absent, refused, folder)


def run(units: Sequence[Unit], out: Path, part: tuple[int, int], say: Callable[[str], None]) -> dict[str, str]:
    """Run what is not on disk of one part; path of a unit -> why it could not be done."""
    number, parts = part
    shares = {share: i for i, share in enumerate(dict.fromkeys(unit.share for unit in units))}
    mine = [unit for unit in units if shares[unit.share] % parts == number - 1]
    reasons: dict[str, str] = {}
    refusals: dict[tuple[str, str], str] = {}
    cache: dict[Any, Features] = {}
    for unit in units:
        key = (unit.question.task.name, unit.entry.name)
        if key not in refusals:
            refusals[key] = unit.entry.refused(unit.question)
        if refusals[key]:
            reasons[str(unit.path(out))] = refusals[key]
    todo = [unit for unit in mine if str(unit.path(out)) not in reasons and saved(unit, out) is None]
    say(f"{len(mine)} runs, {len(mine) - len(todo)} of them on disk or refused")
    for unit in progress(todo, desc="evaluate", unit="run"):
        try:
            save(unit, run_unit(unit, cache), out)
        except BrainOFError as error:
            if error.exit_code == 3:  # the disk, not the unit
                raise
            reasons[str(unit.path(out))] = str(error)
    return reasons


def written(
    suite: Suite, pipelines: Sequence[Pipeline], absent: list[Absent], refused: dict[str, str], folder: Path
) -> Evaluation:
    """Write the tables and the page; what earlier calls found on tasks that this one left out is kept."""
    tables = {"results": moabb_table(pipelines, f"{suite.name} {suite.version}"), "summary": summary(pipelines)}
    found = Evaluation(**tables, absent=absent, refused=refused, folder=folder)
    told: dict[str, dict[str, Any]] = {one.task: {"absent": vars(one)} for one in absent}
    told |= {task: {"refused": reason} for task, reason in refused.items()}
    told |= {pipeline.question.task.name: {"said": said(pipeline.question)} for pipeline in pipelines}
    before = read_json(folder / "tasks.json") if (folder / "tasks.json").exists() else {}
    kept = [task for task in before if task in suite.tasks and task not in told]
    told |= {task: before[task] for task in kept}
    told = {task: told[task] for task in suite.tasks if task in told}
    places = {task: place for place, task in enumerate(suite.tasks)}
    for name, table in list(tables.items()):
        path, buffer, parts = folder / f"{name}.parquet", io.BytesIO(), [table]
        if kept and path.exists() and "task" in (earlier := pd.read_parquet(path)):
            parts.append(earlier[earlier["task"].isin(kept)])
        if parts := [part for part in parts if len(part)]:
            whole = pd.concat(parts, ignore_index=True)
            tables[name] = whole.sort_values(
                "task", key=lambda names: names.map(places), kind="stable", ignore_index=True
            )
        tables[name].to_parquet(buffer, index=False)
        write_atomically(path, [buffer.getvalue()])
    lines = tables["summary"]
    write_atomically(folder / "summary.csv", [lines.to_csv(index=False).encode(errors="backslashreplace")])
    write_json(folder / "tasks.json", told)
    write_atomically(folder / "results.md", [page(suite, lines, told).encode(errors="backslashreplace")])
    return found
