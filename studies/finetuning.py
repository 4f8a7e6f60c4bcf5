"""Fine-tuning from the weights that come with brainof against fine-tuning the same architecture from random weights.

Both sides get the same windows, folds and settings to choose from. Learning rate and epochs are chosen for each side
and fold by the loss on inner people of the training side, who also stop training early. Test people choose nothing, and
pretraining saw none of them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from brainof.adaptation import Adaptation, CorpusRows, FullFineTune, LinearProbe, LoRA, Target, TrainingSet
from brainof.adaptation.saving import model_digest
from brainof.errors import ConfigError, LabelError
from brainof.evaluation import find_suite
from brainof.evaluation.entries import MODEL, RANDOM, Entry, models
from brainof.evaluation.folds import NONE, Split
from brainof.evaluation.leaks import check_duplicates, check_people, unseen_alone
from brainof.evaluation.questions import Question, ask
from brainof.evaluation.readouts import decision
from brainof.evaluation.sources import Absent, open_task
from brainof.inference.batches import pooled
from brainof.release.load import PRETRAINED
from brainof.schema import Schema
from brainof.stats.splits import CrossSubject
from brainof.utils.files import make_folder, read_json, write_atomically, write_json
from brainof.utils.progress import timed
from brainof.utils.values import finite

from .finetuning_page import DEFAULT, LORA, PROBE, TUNED, WAYS, Way, page
from .weights import ACCEPTED

#: What `./run study seeds --out runs/weights` makes
SEEDS = ("runs/weights/seed-1", "runs/weights/seed-2")
#: Changes when the same fit gives another result
VERSION = 1


class Sizes(Schema):
    """How large the study is; the defaults are those of docs/results/finetuning.md."""

    models: tuple[str, ...] = (PRETRAINED, *SEEDS)
    """Weights to start from, of one architecture; as many random initialisations stand against them."""
    tasks: dict[str, int] = Field(default_factory=lambda: {"arithmetic": 2, "heat": 2})
    """Classification tasks of the suite `states`, each with its folds over the people who are tested."""
    train: int = Field(default=4, ge=1)
    """Windows of each person and class that are trained on, evenly spread over time."""
    test: int = Field(default=10, ge=1)
    """The same, that are tested."""
    ways: tuple[Way, ...] = WAYS
    """Ways of adaptation."""
    lr: tuple[float, ...] = (3e-5, 1e-4, 3e-4)
    """Learning rates to choose from."""
    epochs: tuple[int, ...] = (4, 12)
    """Epochs to choose from."""
    validation: float = Field(default=0.25, gt=0, lt=1)
    """Inner people, as a fraction of those of the training side."""

    def fixed(self) -> dict[str, Adaptation]:
        """What is not tuned."""
        inner = {"validation": self.validation}
        ways = {DEFAULT: FullFineTune.parse(inner), LORA: LoRA.parse(inner), PROBE: LinearProbe()}
        return {name: way for name, way in ways.items() if name in self.ways}

    def grid(self) -> list[FullFineTune]:
        """What the tuned budget is chosen from: the default, and no layer slower than others, as scratch wants it."""
        alike = {"layer_decay": 1.0, "patience": 3, "validation": self.validation}
        settings = [{"lr": lr, "epochs": epochs, **alike} for epochs in self.epochs for lr in self.lr]
        return [FullFineTune.parse(values) for values in ({"validation": self.validation}, *settings)]


class Side(NamedTuple):
    """Models of one kind, by seed; the seed also orders the windows and draws the dropout and the inner people."""

    side: str
    models: list[Any]


def finetuning(root: Path, out: Path, say: Callable[[str], None], *, sizes: Sizes) -> Path:
    """Fit, score and compare; writes `finetuning.md` and `finetuning.csv`. Fits that are complete in `out` are kept.

    Raises
    ------
    ConfigError, CheckpointError, LabelError
        Models that are not there, differ in architecture or saw the people who are tested; a task that the suite lacks,
        that is not of classes, or whose data are not here.
    """
    tell = timed(say)
    entries, starts = starting_points(sizes.models)
    scores: list[dict[str, Any]] = []
    budgets: list[dict[str, Any]] = []
    for name, n_folds in sizes.tasks.items():
        question = asked(name, n_folds, root, out, sizes)
        for entry in entries:
            if why := entry.refused(question):
                raise LabelError(f"{entry.name}: {why}", field=name)
        n_tested = len(np.unique(np.concatenate([question.groups[split.test] for split in question.folds])))
        tell(f"{name}: {n_tested} people in {n_folds} folds, {len(question.folds[0].train)} windows to train on")
        for start in starts:
            found, chosen = scored(question, start, sizes, out / "fits" / name)
            scores += [{"task": name, "side": start.side, **row} for row in found]
            budgets += [{"task": name, "side": start.side, **row} for row in chosen]
            tell(f"{name}: {start.side}, done")
    frame = pd.DataFrame(scores)
    write_atomically(out / "finetuning.csv", [frame.to_csv(index=False).encode()])
    write_atomically(out / "finetuning.md", [page(frame, pd.DataFrame(budgets)).encode()])
    return out / "finetuning.md"


def starting_points(names: Sequence[str]) -> tuple[list[Entry], list[Side]]:
    """The models, and both sides: these, and as many draws of random weights of their architecture."""
    for name in names:
        if name in SEEDS and not Path(name).is_dir():
            fix = "train them with `./run study seeds --out runs/weights`, or give models=[pretrained]"
            raise ConfigError("no such run folder", file=name, field="models", fix=fix)
    entries = models(names, len(names), Path(), ACCEPTED)
    given, random = ([entry for entry in entries if entry.kind == kind] for kind in (MODEL, RANDOM))
    if len(random) != 1:
        raise ConfigError("differ in architecture", field="models", fix="compare those of one preset")
    networks = [entry.network for entry in given], [random[0].network] * len(names)
    pretrained, scratch = ([net(seed) for seed, net in enumerate(side) if net is not None] for side in networks)
    return given, [Side(MODEL, pretrained), Side(RANDOM, scratch)]


def asked(name: str, n_folds: int, root: Path, out: Path, sizes: Sizes) -> Question:
    """A task on few windows of each person, in folds over the people whom no model saw; the others are trained on."""
    task = find_suite("states").only([name]).tasks[name]
    opened = open_task(task, root, out)
    if isinstance(opened, Absent):
        raise LabelError(f"{opened.why}; {opened.access}", field=f"tasks.{name}")
    task, corpus = opened.sides()
    if task.kind != "classification":
        raise ConfigError(f"is a task of {task.kind}", field=f"tasks.{name}", fix="choose one of classes")
    whole = ask(unseen_alone(task, corpus, sizes.models), corpus)
    kept = spread(whole, np.arange(len(whole.rows)), sizes.test)
    arrays = {key: getattr(whole, key)[kept] for key in ("rows", "y", "groups", "recordings")}
    question = replace(whole, index=whole.index.iloc[kept].reset_index(drop=True), folds=[], **arrays)
    folds = list(folds_of(question, n_folds, sizes.train))
    if min(len(np.unique(question.groups[split.train])) for split in folds) < 3:
        raise LabelError("a training side has fewer than three people", field=f"tasks.{name}", fix="give more folds")
    check_people(question.index, folds, task.split)
    check_duplicates(question.index, folds)
    return replace(question, folds=folds)


def folds_of(question: Question, n_folds: int, n_train: int) -> Iterator[Split]:
    """Each of the tested people on one test side; on its training side all others."""
    names = question.task.tested
    known = question.index["subject"].astype(str)
    tested = np.flatnonzero(known.isin(names)) if names else np.arange(len(known))
    for _, part in CrossSubject(n_folds).split(groups=question.groups[tested]):
        test = tested[part]
        others = np.flatnonzero(~np.isin(question.groups, question.groups[test]))
        yield Split(spread(question, others, n_train), NONE, test)


def spread(question: Question, rows: np.ndarray, n: int) -> np.ndarray:
    """At most `n` of the rows of each group and class, evenly spread over its recordings and time."""
    frame = question.index.iloc[rows][["recording", "onset"]].astype({"recording": str})
    frame = frame.assign(row=rows, group=question.groups[rows], y=question.y[rows]).sort_values(["recording", "onset"])
    parts = [own.to_numpy() for _, own in frame.groupby(["group", "y"])["row"]]
    picks = [np.linspace(0, len(own) - 1, min(n, len(own))).round().astype(int) for own in parts]
    return np.sort(np.concatenate([own[pick] for own, pick in zip(parts, picks, strict=True)]))


def scored(question: Question, side: Side, sizes: Sizes, place: Path) -> tuple[list[dict], list[dict]]:
    """Scores of each way, seed and person; and the budget of each fold, which the first seed chooses for all."""
    folds, scores = range(len(question.folds)), []
    best: list[tuple[FullFineTune, dict[str, Any]]] = []
    for seed, model in enumerate(side.models):
        fit = partial(fitted, question, model, training_set(question, model, seed), place)
        ways: dict[str, list[Adaptation]] = {name: [way] * len(folds) for name, way in sizes.fixed().items()}
        if TUNED in sizes.ways:
            best = best or [best_of(sizes.grid(), partial(fit, fold)) for fold in folds]
            ways = {TUNED: [way for way, _ in best], **ways}
        for name, of_folds in ways.items():
            found = [fit(fold, way) for fold, way in zip(folds, of_folds, strict=True)]
            tested = [(split.test, np.array(one["scores"])) for split, one in zip(question.folds, found, strict=True)]
            seconds = float(np.mean([one["seconds"] for one in found]))
            for who, score in question.by_group(tested).items():
                scores.append({"way": name, "seed": seed, "seconds": seconds, "subject": who, "score": score})
    return scores, [{"fold": fold, **about} for fold, (_, about) in enumerate(best)]


def best_of(
    grid: Sequence[FullFineTune], fit: Callable[[FullFineTune], dict[str, Any]]
) -> tuple[FullFineTune, dict[str, Any]]:
    """The setting with the lowest loss of inner people, and what is said of it."""
    tried = [(way, fit(way)["report"]) for way in grid]
    way, report = min(tried, key=lambda pair: pair[1]["validation_loss"])
    about = {"lr": way.lr, "epochs": way.epochs, "layer decay": way.layer_decay}
    return way, {**about, "best epoch": report["best_epoch"], "inner loss": report["validation_loss"]}


def training_set(question: Question, model: Any, seed: int) -> TrainingSet:
    """All windows of a task; features of the model as it was given are computed once."""
    examples = CorpusRows(question.corpus, question.rows, int(model.config.patch))
    target = Target.coded(question.y, question.classes, question.groups)
    return TrainingSet(examples, target, cache(lambda pool: pooled(model, examples, pool)), seed)


def fitted(
    question: Question, model: Any, data: TrainingSet, place: Path, fold: int, way: Adaptation
) -> dict[str, Any]:
    """Test scores, report and processor seconds of one fit; kept under the hash of all that it depends on."""
    about = [VERSION, question.digest, model_digest(model), data.random_state, fold, way.to_dict()]
    path = place / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]}.json"
    if path.exists():
        return read_json(path)
    split, started = question.folds[fold], time.process_time()
    adapted = way.apply(model, data.take(split.train))
    seconds = time.process_time() - started
    found = {"scores": decision(adapted, data.take(split.test)), "report": adapted.report, "seconds": seconds}
    make_folder(place)
    write_json(path, finite({"way": way.to_dict(), "seed": data.random_state, "fold": fold, **found}), checksum=True)
    return read_json(path)
