"""`brainof adapt`: a model, a corpus and a task -> scores by cross-validation, and the model fitted on all people.

RUN/config.yaml    the AdaptConfig (another call must agree with it)
RUN/scores.json    scores of every fold and person, and the tables of an evaluation by every metric: beside frozen
                   features, random weights, baselines and chance on the same windows and folds
RUN/adapter/       what was learnt, in PEFT's layout (`BrainOFClassifier.load(RUN)`)
RUN/release/       the adapted backbone and its contract (`brainof.load(RUN)`, `brainof embed --model RUN`)
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from pydantic import Field
from sklearn.metrics import confusion_matrix

from ..adaptation import adaptation
from ..adaptation.base import Adaptation, Adapted, AdaptedEnsemble, Target, TrainingSet
from ..adaptation.saving import CONFIG, model_digest, save_adapter
from ..contract import InputContract
from ..corpus import open_corpora
from ..errors import ConfigError, check_known
from ..inference.batches import pooled
from ..inference.examples import CorpusRows
from ..paths import user_path
from ..pretraining.data import contract_of
from ..pretraining.record import data_record
from ..pretraining.run_folder import differing, flat
from ..release import load, save_release
from ..release.load import record_of
from ..schema import Schema
from ..stats.compare import nanmean, standard_error
from ..stats.metrics import METRICS, decide
from ..utils.files import make_folder, read_json, write_atomically, write_json
from ..utils.progress import progress
from ..utils.values import finite
from .entries import MODEL, RANDOM, Entry, initialised, no_features
from .protocol import Task, recipe_tasks, task_rows
from .questions import Question, plain_question
from .readouts import decision
from .summary import Pipeline, moabb_table, summary
from .task import pipelines
from .transforms import PLAIN
from .units import Result

log = logging.getLogger(__name__)

#: What the record of a base model still says of the model adapted from it
_INHERITED = ("data", "windows", "notes")
#: Columns of the table of people that `scores.json` keeps
PERSON = ("task", "entry", "kind", "readout", "option", "metric", "dataset", "subject", "seed", "score")


class AdaptConfig(Schema):
    """A recipe of `brainof adapt`.

    Examples
    --------
    >>> AdaptConfig.parse({"corpus": "corpus", "task": "eegmat/arithmetic", "adaptation": "lora"}).folds
    6
    """

    corpus: str | list[str]
    """One or several corpora."""
    task: str
    """`dataset/task` of a dataset recipe."""
    adaptation: str | dict[str, Any] = "probe"
    """A name, or `{adaptation: name, ...parameters}`."""
    folds: int | None = Field(default=6, ge=2)
    """Folds by the task's group (person, run); None leaves one group out."""
    repeats: int = Field(default=1, ge=0)
    """Cross-validations, each with other folds; 0 leaves the scores out."""
    random_state: int = 0
    accept: list[str] = Field(default_factory=list)
    """Differences from training that are taken as they are (see `ModalityContract.check`)."""


class Asked(NamedTuple):
    """How which model should be adapted, to which windows and targets, scored on which folds."""

    config: AdaptConfig
    model: str
    chosen: Adaptation
    base: Any
    contract: InputContract | None
    task: Task
    examples: CorpusRows
    data: TrainingSet
    question: Question


def adapt(config: AdaptConfig | str | PathLike[str], model: str | PathLike[str], out: str | PathLike[str]) -> Path:
    """Adapt a model to a task of a corpus; returns the run folder.

    `config` is an AdaptConfig or its YAML file; `model` what `brainof.load` takes (a preset is trained from scratch).

    Raises
    ------
    ConfigError, LabelError, ContractError, CheckpointError
        Wrong input, or `out` holds a run of other settings; nothing is written then.
    """
    asked = question(config if isinstance(config, AdaptConfig) else AdaptConfig.load(config), str(model))
    folder = user_path(out)
    claim(folder, asked.config, str(model))
    if asked.config.repeats:
        tested, report = cross_validated(asked)
        write_json(folder / "scores.json", finite({**scores(asked, tested, report), **beside(asked, tested)}))
    write_run(folder, asked, asked.chosen.apply(asked.base, asked.data))
    return folder


def claim(folder: Path, config: AdaptConfig, model: str) -> None:
    """Write the configuration of a new run; ConfigError where the folder holds results of another one."""

    def settings(config: AdaptConfig, base: Any) -> dict[str, Any]:
        """All that a run depends on, by dotted names; a name of an adaptation stands for its parameters."""
        return flat({**config.to_dict(), "adaptation": adaptation(config.adaptation).to_dict(), "model": base})

    path, adapter, other = folder / "config.yaml", folder / "adapter" / CONFIG, "give another out="
    if path.exists():
        try:
            held = AdaptConfig.load(path)
        except ConfigError:
            raise ConfigError("holds a run of another command", file=folder, field="out", fix=other) from None
        base = read_json(adapter).get("base_model_name_or_path") if adapter.exists() else _base(model)
        before, now = settings(held, base), settings(config, _base(model))
        differing(path, before, now, f"{other} for other settings")
    make_folder(folder)
    write_atomically(path, [yaml.safe_dump(config.to_dict(), sort_keys=False).encode()])


def _base(model: str) -> str:
    """What the adapter keeps of its base model: a folder by its full path, anything else by name."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def question(config: AdaptConfig, model: str) -> Asked:
    """Model, corpus, task, examples and target of a configuration, checked."""
    chosen = adaptation(config.adaptation)
    base, contract = load(model, seed=config.random_state)
    corpora = open_corpora([config.corpus] if isinstance(config.corpus, str) else config.corpus)
    known = {task.name: task for task in recipe_tasks(corpora)}
    check_known(config.task, known, ConfigError, "no task {!r} in the corpus", field="task")
    task = known[config.task]
    if task.kind in ("identification", "matching"):
        raise ConfigError(f"{task.name} is a task of {task.kind}", field="task", fix="choose a task with labels")
    folds = {"n_splits": config.folds, "repeats": max(1, config.repeats), "random_state": config.random_state}
    task = task.model_copy(update=folds)
    examples = CorpusRows(corpora, task_rows(corpora.index, task), int(base.config.patch))
    if contract is None:
        log.warning("%s is a preset: its weights are random, this is training from scratch", model)
    else:
        examples.check(contract, config.accept)
    own = plain_question(task, corpora)
    if config.repeats and config.folds and len(own.folds) < config.folds * config.repeats:
        made = len(own.folds) // config.repeats
        log.warning("%d folds were asked for, the split of these people has %d", config.folds, made)
    target = Target.coded(own.y, own.classes, own.groups)
    data = TrainingSet(examples, target, cache(partial(pooled, base, examples)), config.random_state)
    return Asked(config, model, chosen, base, contract, task, examples, data, own)


def cross_validated(asked: Asked) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Decision values of each test side by a model adapted on the others, and the report of the last fold."""
    tested, report = [], {}
    for split in progress(asked.question.folds, desc="folds", unit="fold"):
        fitted = asked.chosen.apply(asked.base, asked.data.take(split.train))
        report = fitted.report
        tested.append(decision(fitted, asked.data.take(split.test)))
    return tested, report


def scores(asked: Asked, tested: list[np.ndarray], report: dict[str, Any]) -> dict[str, Any]:
    """Per metric the mean over folds, the standard error over groups, and all values; the confusion of classes."""
    found, question = {}, asked.question
    parts = [(split.test, values) for split, values in zip(question.folds, tested, strict=True)]
    for metric in METRICS[question.task.kind]:
        own = question.by(metric)
        folds, groups = [own.measure(own.y[rows], values, rows) for rows, values in parts], own.by_group(parts)
        error = standard_error(list(groups.values()))
        found[metric] = {"mean": nanmean(folds), "se": error, "folds": folds, "groups": groups}
    result: dict[str, Any] = {"adaptation": asked.chosen.to_dict(), "metrics": found, "report_of_last_fold": report}
    if classes := list(question.classes):
        true_N = np.concatenate([question.y[rows] for rows, _ in parts])
        counts = confusion_matrix(true_N, decide(np.concatenate(tested)), labels=range(len(classes)))
        result["confusion"] = {"classes": classes, "counts": counts.tolist()}
    return result


def beside(asked: Asked, tested: list[np.ndarray]) -> dict[str, Any]:
    """The adapted model beside frozen features, random weights, classical baselines and chance, by every metric."""
    question = asked.question
    features = {"frozen features": asked.data.pooled(asked.base, "auto")}
    if asked.contract is not None:  # a trained model: what the same architecture has without training
        features[RANDOM] = pooled(initialised(asked.base.config, 0), asked.examples, "auto")
    adapted = Pipeline(question, Entry("adapted model", MODEL, no_features), asked.chosen.name, PLAIN)
    adapted.folds[0] = {
        number: Result(split.test, values, {"n_train": len(split.train)})
        for number, (split, values) in enumerate(zip(question.folds, tested, strict=True))
    }
    found = [adapted, *pipelines(question, features)]
    by_metric = [
        [replace(pipeline, question=question.by(metric)) for pipeline in found]
        for metric in METRICS[question.task.kind]
    ]
    lines = pd.concat(map(summary, by_metric), ignore_index=True)
    people = pd.concat([moabb_table(own, question.task.name) for own in by_metric], ignore_index=True)
    return {"summary": lines.to_dict("records"), "people": people[[*PERSON]].to_dict("records")}


def write_run(folder: Path, asked: Asked, fitted: Adapted | AdaptedEnsemble) -> None:
    """Adapter and release of a run."""
    config, model, examples, names = asked.config, asked.model, asked.examples, asked.data.target.names
    about = {
        "estimator": "BrainOFRegressor" if names is None else "BrainOFClassifier",
        "arguments": {"random_state": config.random_state, "accept": config.accept},
        "classes": None if names is None else names.tolist(),
        "subjects": np.unique(examples.subjects).tolist(),
        "task": asked.task.to_dict(),
    }
    save_adapter(folder / "adapter", fitted, _base(model), model_digest(asked.base), about)
    # the card of what was adapted names the data of both, with their licenses
    before = {key: value for key, value in record_of(model).items() if key in _INHERITED}
    if "data" not in before:
        before["notes"] = [*before.get("notes", ()), f"{model} brought no record of data: random weights, or unknown."]
    adapted: Any = fitted.model
    save_release(
        folder / "release",
        adapted,
        asked.contract or contract_of(examples.corpus, examples.index, examples.patch),
        **before,
        base_model=model,
        task=asked.task.name,
        adaptation=asked.chosen.to_dict(),
        adaptation_data=data_record(examples.corpus, examples.index),
        report=fitted.report,
    )
