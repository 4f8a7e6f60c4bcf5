"""Prepare a dataset: every recording of a recipe into a corpus, and a summary judged from the disk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from ..corpus import Corpus, CorpusWriter
from ..errors import BrainOFError, ConfigError, CorpusError, check_known, did_you_mean
from ..paths import user_path
from ..utils.files import read_json
from ..utils.memory import memory_budget
from ..utils.progress import progress
from ..utils.values import counted
from .discover import Found, discover
from .engines import KILLED, Engine
from .job import DIED, Job
from .recipe import Recipe, find_recipe


@dataclass(frozen=True)
class Summary:
    """What stands on disk after a run."""

    recipe: str
    #: One row per recording of this run: recording, state ("done", "failed" or "unfinished"), windows (of all views),
    #: reason (of a failure)
    table: pd.DataFrame
    views: dict[str, int]  # windows of these recordings per view
    skipped: int = 0  # recordings that the corpus held already
    seconds: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)  # of the reader, and how many recordings of this run have them

    def count(self, state: str) -> int:
        """Recordings in a state."""
        return int((self.table["state"] == state).sum())

    @property
    def complete(self) -> bool:
        """True where every recording is done."""
        return self.count("done") == len(self.table)

    def text(self, most: int = 20) -> str:
        """The table a command ends with: totals, then at most `most` recordings that are not done, with reasons."""
        lines = [
            f"{self.recipe}: {counted(self.count('done'), 'recording')} prepared ({self.skipped} already up to date), "
            f"{self.count('failed')} failed, {self.count('unfinished')} unfinished; "
            f"{counted(sum(self.views.values()), 'window')} in {self.seconds:.1f} s",
            *(f"  {view:<24} {count:>8} windows" for view, count in self.views.items()),
        ]
        if self.notes:
            lines += ["notes", *(f"  {count:>4} x {note}" for note, count in Counter(self.notes).most_common(most))]
        left = self.table[self.table["state"] != "done"]
        lines += [f"  {row.state:<10} {row.recording}  {row.reason}" for row in left.head(most).itertuples()]
        if len(left) > most:
            lines.append(f"  and {len(left) - most} more")
        return "\n".join(lines)


def prepare(
    recipe: Recipe | str | PathLike[str],
    root: str | PathLike[str],
    out: str | PathLike[str],
    *,
    limit: int | None = None,
    subjects: Iterable[str] | None = None,
    part: tuple[int, int] = (1, 1),
    strict: bool = False,
    engine: Engine | None = None,
) -> Summary:
    """Prepare the recordings of a dataset into a corpus.

    Recordings that the corpus holds with the same recipe and file are skipped; one that cannot be prepared is noted in
    the corpus and does not stop the others.

    Parameters
    ----------
    recipe : Recipe, str or path-like
        A recipe, or its name or file.
    root, out : path-like
        Folder of the dataset, and of the corpus, which is made if it does not exist.
    limit : int, optional
        Only so many recordings, evenly spread.
    subjects : iterable of str, optional
        Only these.
    part : (int, int)
        (i, n): the i-th of n equal shares, counted from 1.
    strict : bool
        Count recordings that are cut off or of implausible amplitude as failed.
    engine : Engine, optional
        Who does the work, and with how much memory; default: this process.

    Raises
    ------
    ConfigError
        There is no such recipe, nothing matches, an option is wrong, or (once all are prepared) windows are to be cut
        on an event that no recording has.
    LabelError
        A label table is missing or lacks a column.
    StorageError
        The corpus cannot be written.
    """
    started = time.monotonic()
    recipe = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    engine = engine or Engine()
    found = choose(discover(recipe.files, root, recipe.name), limit, subjects, part)
    job = Job(recipe, root, strict)
    configs: dict[str, str | None] = {entry.name: None for entry in found}
    for entry in found:
        with suppress(BrainOFError, OSError):  # a fault of this recording alone; its worker meets it again and notes it
            configs[entry.name] = job.config(entry)
    with memory_budget(engine.memory), CorpusWriter(out) as writer:  # a budget that is too small is refused here
        writer.add_dataset(recipe.name, describe(recipe))
        todo = [entry for entry in found if not (config := configs[entry.name]) or not writer.done(config)]
        failures = _failures(user_path(out), recipe)
        for name in failures.keys() & configs.keys() - {entry.name for entry in todo}:
            writer.forget_failure(job.identity(name))  # of an earlier run: the recording is done
    died_before = {name for name, reason in failures.items() if reason in (DIED, KILLED)}
    todo.sort(key=lambda entry: entry.name in died_before)
    records = engine.run(job, out, [(entry, configs[entry.name]) for entry in todo], died_before) if todo else ()
    before = len(found) - len(todo)
    notes: Counter[str] = Counter()
    for record in progress(records, desc=recipe.name, unit="recording", total=len(found), initial=before):
        configs[record["recording"]] = record["config"]
        notes.update(record["notes"])
    seconds = time.monotonic() - started
    summary = Summary(recipe.name, *judge(recipe, configs, out), before, seconds, dict(notes))
    if summary.complete and limit is None and subjects is None and part == (1, 1):
        refuse_absent_events(recipe, Corpus(out).quality)
    return summary


def refuse_absent_events(recipe: Recipe, quality: Iterable[Mapping[str, Any]]) -> None:
    """ConfigError where a view is cut on an event that no recording has; `quality` is what the corpus notes of each."""
    notes = [note for note in quality if (note["dataset"], note["modality"]) == (recipe.name, recipe.modality)]
    if not all("events" in note for note in notes):  # prepared by an older version
        return
    there = {name for note in notes for name in note["events"]}
    for view, options in recipe.views().items():
        for name in options.events if isinstance(options.events, list) else ():
            if name not in there:
                field = "windows.events" if view == "pretrain" else f"tasks.{view}.windows.events"
                fix = did_you_mean(name, there) if there else "the recordings have no event"
                raise ConfigError(f"no recording has an event {name!r}", file=recipe.name, field=field, fix=fix)


def choose(found: list[Found], limit: int | None, subjects: Iterable[str] | None, part: tuple[int, int]) -> list[Found]:
    """The recordings of one run; ConfigError for an unknown subject or a part that does not exist."""
    number, parts = part
    if not 1 <= number <= parts:
        raise ConfigError(f"{number}/{parts}", field="part", fix="give I/N with I from 1 to N")
    if limit is not None and limit < 1:
        raise ConfigError(f"{limit}", field="limit", fix="give a number above 0")
    if subjects is not None:
        wanted = list(subjects)
        known = {entry.entities.get("subject", "") for entry in found}
        for subject in wanted:
            check_known(subject, known, ConfigError, "no subject {!r}", field="subjects")
        found = [entry for entry in found if entry.entities.get("subject") in wanted]
    if limit is not None and limit < len(found):
        found = [found[index * len(found) // limit] for index in range(limit)]
    return found[number - 1 :: parts]


def describe(recipe: Recipe) -> dict[str, object]:
    """What the corpus keeps of a dataset: the recipe, and the steps and views written out in full."""
    return {
        **recipe.to_dict(),
        "steps": recipe.chain().to_steps(),
        "views": {view: options.to_dict() for view, options in recipe.views().items()},
        "task_views": {task: recipe.view_of(task) for task in recipe.tasks},
    }


def judge(
    recipe: Recipe, configs: Mapping[str, str | None], out: str | PathLike[str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """`Summary.table` and `.views` by the files of the corpus alone; `configs`: recording -> its hash there or None."""
    index = Corpus(out).index
    index = index[(index["dataset"] == recipe.name) & (index["modality"] == recipe.modality)]
    committed = set(index["config"].astype(str))
    file = index["recording"].astype(str).str.split("#").str[0]  # parts of one file are recordings "file#part"
    windows = file.value_counts()
    failures = _failures(user_path(out), recipe)
    rows = []
    for name, config in configs.items():
        if config in committed:
            rows.append((name, "done", int(windows.get(name, 0)), ""))
        else:
            rows.append((name, "failed" if name in failures else "unfinished", 0, failures.get(name, "")))
    table = pd.DataFrame(rows, columns=["recording", "state", "windows", "reason"])
    mine = index[file.isin(table.loc[table["state"] == "done", "recording"])]
    return table, {view: int((mine["view"] == view).sum()) for view in recipe.views()}


def _failures(out: Path, recipe: Recipe) -> dict[str, str]:
    """recording -> reason, for the dataset."""
    failures = {}
    for path in sorted((out / "failures").glob("*.json")):
        with suppress(CorpusError):  # another writer has just removed it
            values = read_json(path)
            if values.get("dataset") == recipe.name and values.get("modality") == recipe.modality:
                failures[str(values.get("recording"))] = str(values.get("reason", ""))
    return failures
