"""Units of work: one model (or baseline), read-out, option and seed of a task; each is one file that is kept.

Read-outs that train have one unit per fold; the folds of the others take milliseconds and share a file.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..utils.files import make_folder, parse_json, write_atomically
from .entries import CLASSICAL, CONTROL, MODEL, NETWORK, RANDOM, Entry
from .folds import Split
from .leaks import check_inductive
from .matching import Matching, Segments
from .questions import Question
from .readouts import READOUTS, TRAINED, trained
from .resolution import READOUT as RESOLUTION
from .resolution import compared
from .suite import SuiteTask
from .transforms import EQUAL, PLAIN, RECENTRED, Features, both_sides, narrowed

#: Changes when the same unit gives another result, so that older files are computed again
VERSION = 2
#: The read-out of baselines that bring their own
OWN = "own"
#: Numbers of the fold that stand for all folds, and for a whole permutation test
ALL, NULL = -1, -2
#: Rows and scores of a result that is about people, not windows
NO_ROWS = np.zeros(0, int), np.zeros(0)


@dataclass(frozen=True, eq=False)
class Unit:
    """One run; its fold is ALL, NULL (the permutation test) or, for read-outs that train, a number."""

    question: Question
    entry: Entry
    readout: str
    option: str
    seed: int
    fold: int
    width: int = 0
    permutations: int = 0

    @property
    def pipeline(self) -> tuple[str, str, str]:
        return self.entry.name, self.readout, self.option

    @property
    def share(self) -> tuple[Any, ...]:
        """Units of one share use the same features, so that one part of an array of jobs takes them."""
        shared = (self.question.task.name, self.entry.name, self.seed)
        return (*shared, self.readout, self.fold) if self.readout in TRAINED else shared

    def path(self, out: Path) -> Path:
        folder = "__".join("".join(c if c.isalnum() else "-" for c in part) for part in self.pipeline)
        number = {ALL: "folds", NULL: "null"}.get(self.fold, f"fold-{self.fold}")
        return out / "runs" / self.question.task.name / folder / f"seed-{self.seed}_{number}.npz"

    @property
    def digest(self) -> str:
        """Of everything that the result depends on."""
        values = [VERSION, self.question.digest, self.entry.digest, *self.pipeline, self.seed, self.fold]
        return hashlib.sha256(json.dumps([*values, self.width, self.permutations]).encode()).hexdigest()[:24]


@dataclass(frozen=True, eq=False)
class Result:
    """What a unit found: scores of the rows of its test side, and what is known of how."""

    rows: np.ndarray
    scores: np.ndarray
    about: dict[str, Any]


def plan(question: Question, entries: Sequence[Entry], seeds: int, permutations: int, width: int) -> list[Unit]:
    """The units of a task, in the order in which they run.

    `seeds` are those of read-outs that train, `permutations` the labellings of the null of closed-form ones, `width` is
    the dimension to which classical features are also reduced (0: they are not).
    """
    task = question.task
    units: list[Unit] = []
    n = permutations if task.permutations is None else task.permutations
    for entry in entries:
        if task.kind == "resolution":
            drawn = range(entry.seeds if entry.kind in (MODEL, RANDOM) else 0)
            names = [change.name for change in task.changes]
            units += [Unit(question, entry, RESOLUTION, name, seed, ALL) for seed in drawn for name in names]
            continue
        if not question.decodes:
            for option in (PLAIN, RECENTRED):
                drawn = range(entry.seeds)
                units += [Unit(question, entry, "match", option, seed, ALL, permutations=n) for seed in drawn]
            continue
        for readout in readouts_of(entry, task.readouts):
            for option in options_of(entry, readout, task, width):
                for seed in range(max(entry.seeds, seeds if readout in TRAINED else 1)):
                    folds = tuple(range(len(question.folds))) if readout in TRAINED else (ALL,)
                    if task.fractions is not None and readout in TRAINED:  # each seed has a draw of its own
                        folds = (seed,) if seed < len(question.folds) else ()
                    units += [Unit(question, entry, readout, option, seed, fold, width) for fold in folds]
                if n and readout == readouts_of(entry, task.readouts)[0] in READOUTS and option in (PLAIN, EQUAL):
                    units.append(Unit(question, entry, readout, option, 0, NULL, width, n))
    return units


def readouts_of(entry: Entry, asked: Sequence[str]) -> list[str]:
    """The read-outs of a task that fit an entry: classical features have no latents, networks train whole, controls are
    read by ridge."""
    for readout in asked:
        if readout not in READOUTS and readout not in TRAINED:
            known = ", ".join((*READOUTS, *TRAINED))
            raise ConfigError(f"unknown read-out {readout!r}", field="readouts", fix=f"known: {known}")
    if entry.kind in (MODEL, RANDOM):
        return list(asked)
    if entry.kind == NETWORK:
        return ["full"]
    if entry.own is not None:
        return [OWN]
    usual = [readout for readout in asked if readout in ("ridge", "logistic")]
    return usual[:1] or ["ridge"] if entry.kind == CONTROL else usual or ["ridge"]


def options_of(entry: Entry, readout: str, task: SuiteTask, width: int) -> list[str]:
    """Plain features; the task's options for its first read-out; classical features at the width of the model, too."""
    if readout in (*TRAINED, OWN) or entry.kind == CONTROL:
        return [PLAIN]
    asked = task.options if readout == task.readouts[0] else ()
    return [PLAIN, *asked, *([EQUAL] if entry.kind == CLASSICAL and width and task.equal else [])]


def run_unit(unit: Unit, cache: dict[Any, Features]) -> list[Result]:
    """The result of each fold of a unit; `cache` keeps features between units of one share."""
    question, entry, seed = unit.question, unit.entry, unit.seed
    if unit.readout in TRAINED:
        split, started = question.folds[unit.fold], time.process_time()
        assert entry.network is not None
        scores, about = trained(unit.readout, entry.network(seed), question, split, seed)
        about |= {"time": time.process_time() - started, "n_train": len(split.train)}
        return [Result(split.test, scores, about)]
    if unit.readout == RESOLUTION:  # features are kept on disk, as the reference serves many changes
        change = next(change for change in question.task.changes if change.name == unit.option)
        pair = question.at(change.against), question.at(change.sfreq, change.dropped)
        reference, other = (np.asarray(entry.features(side, seed, unit.readout)) for side in pair)
        about = {**compared(reference, other, question.groups), "n_features": reference.shape[1]}
        return [Result(*NO_ROWS, about)]
    key = (question.task.name, entry.name, seed, "second_order" if unit.readout == "second_order" else "")
    if key not in cache:
        cache.clear()
        own = entry.features(question, seed, unit.readout)
        cache[key] = own if callable(own) or not question.decodes else narrowed(own)
    features = cache[key]
    if not question.decodes:
        return [_matched(unit, features)]
    if unit.fold == NULL:  # the metric with the true and with permuted labels
        names = ("null", "nuisance") if question.task.nuisance else ("null",)
        null = partial(question.null, features, unit.permutations, unit.option, unit.width)
        return [Result(*NO_ROWS, {name: null(nuisance=name == "nuisance").tolist() for name in names})]
    if callable(features):
        check_inductive(features, question.folds[0])
    return [_read_out(unit, features, split) for split in question.folds]


def _read_out(unit: Unit, features: Features, split: Split) -> Result:
    question, train, test = unit.question, split.train, split.test
    inside, outside = both_sides(features, train, test, question.groups, unit.option, unit.width)
    started = time.process_time()
    read = unit.entry.own or READOUTS[unit.readout]
    scores = read(inside, question.y[train], question.groups[train], outside, len(question.classes))
    about = {"time": time.process_time() - started, "n_train": len(train), "n_features": inside.shape[1]}
    hits, chance = identity(outside, question, test)
    return Result(test, scores, {**about, "identity": hits, "identity_chance": chance})


def _matched(unit: Unit, features: Features) -> Result:
    """Hits of each person: of their segments, or of their sessions both ways."""
    if callable(features):
        task = unit.question.task
        text = f"{unit.entry.name!r} needs a training side, and {task.kind} has none"
        raise ConfigError(text, field=f"{task.name}.baselines", fix="use 'log covariance'")
    pairs, n = unit.question.pairs, unit.permutations if unit.seed == 0 else 0
    assert isinstance(pairs, Matching | Segments)
    found = pairs.hits(features, unit.option == RECENTRED, n, unit.question.task.random_state)
    about = {"hits": found.rates, "null": [found.score, *found.null.tolist()] if n else []}
    return Result(*NO_ROWS, {**about, "time": 0.0, "n_train": 0, "n_features": features.shape[1]})


def identity(features: np.ndarray, question: Question, rows: np.ndarray) -> tuple[float | None, float | None]:
    """How well the features tell test people apart: top-1 between the halves of each person's windows, and chance.

    Halves are the first and the last recordings of a person, or of the windows where there is one recording. None where
    fewer than two people have two windows.
    """
    names, person, n = np.unique(question.people[rows], return_inverse=True, return_counts=True)
    recording, onset = (question.index[name].to_numpy()[rows] for name in ("recording", "onset"))
    order = np.lexsort((onset.astype(float), np.unique(recording.astype(str), return_inverse=True)[1], person))
    order, names, n = order[n[person[order]] > 1], names[n > 1], n[n > 1]
    if len(names) < 2:
        return None, None
    place = np.arange(len(order)) - np.repeat(np.cumsum(n) - n, n)
    half = 2 * np.repeat(np.arange(len(n)), n) + (place >= np.repeat(n // 2, n))
    pairs = Matching(half, np.arange(0, 2 * len(n), 2), np.arange(1, 2 * len(n), 2), names)
    return pairs.hits(np.nan_to_num(features)[order], recentred=True).score, pairs.chance


def save(unit: Unit, results: Sequence[Result], out: Path) -> None:
    """Write the results of a unit by rename."""
    path = unit.path(out)
    make_folder(path.parent)
    buffer = io.BytesIO()
    about = {"digest": unit.digest, "sizes": [len(r.rows) for r in results], "folds": [r.about for r in results]}
    rows, scores = (np.concatenate([getattr(r, name) for r in results]) for name in ("rows", "scores"))
    np.savez_compressed(buffer, rows=rows, scores=scores, about=np.array(json.dumps(about)))
    write_atomically(path, [buffer.getvalue()])


def saved(unit: Unit, out: Path) -> list[Result] | None:
    """The results on disk, unless something that they depend on has changed, or the file is damaged."""
    try:
        with np.load(unit.path(out), allow_pickle=False) as arrays:
            about, rows, scores = parse_json(str(arrays["about"])), arrays["rows"], arrays["scores"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if about.get("digest") != unit.digest:
        return None
    ends = np.cumsum(about["sizes"])[:-1]
    parts = zip(np.split(rows, ends), np.split(scores, ends), about["folds"], strict=True)
    return [Result(*part) for part in parts]
