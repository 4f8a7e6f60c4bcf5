"""From what units found to two tables, one row per person in MOABB's columns and one per pipeline, and to the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..stats.compare import combined_error, mean_by_name, nanmean, paired, standard_error
from ..stats.metrics import LOWER_IS_BETTER
from ..stats.nulls import p_value
from ..utils.console import markdown_table
from .entries import CHANCE, CLASSICAL, CONTROL, MODEL, NETWORK, RANDOM, Entry, no_features
from .leaks import EVALUATIONS, NO_TARGET, UNLABELLED_TARGET
from .matching import Matching, Segments
from .questions import Question
from .resolution import table
from .suite import Side, Suite
from .transforms import EQUAL, PLAIN, RECENTRED
from .units import ALL, NO_ROWS, NULL, Result, Unit

#: Columns of the page
_COLUMNS = (
    *("", "read-out", "features", "gain over random weights", "and over initialisations", "score"),
    *("null 95 %", "p", "who is it", "note"),
)
#: Columns of MOABB's results, in its words, before our own
MOABB = ("score", "time", "samples", "subject", "session", "channels", "n_sessions", "dataset", "pipeline")


@dataclass(eq=False)
class Pipeline:
    """Everything found for one entry, read-out and option of a task."""

    question: Question
    entry: Entry
    readout: str
    option: str
    folds: dict[int, dict[int, Result]] = field(default_factory=dict)
    null: Result | None = None
    reason: str = ""
    unfinished: int = 0

    @property
    def about(self) -> dict[str, Any]:
        """Columns of both tables that say what it is."""
        about = {"task": self.question.task.name, "entry": self.entry.name, "kind": self.entry.kind}
        return {**about, "readout": self.readout, "option": self.option, "metric": self.question.metric}

    @property
    def n_seen(self) -> int:
        """People of the task that trained the model."""
        return self.entry.overlap(self.question)[0]

    @property
    def seeds(self) -> dict[int, dict[str, float]]:
        """Seed -> person -> score."""
        if not self.question.decodes:
            return {seed: dict(results[0].about["hits"]) for seed, results in self.folds.items()}
        parts = {seed: [(r.rows, r.scores) for _, r in sorted(results.items())] for seed, results in self.folds.items()}
        return {seed: self.question.by_group(sides) for seed, sides in parts.items()}

    def groups(self) -> dict[str, float]:
        """Person -> score, averaged over seeds."""
        return mean_by_name(list(self.seeds.values()))

    def results(self) -> list[Result]:
        return [result for results in self.folds.values() for result in results.values()]


def collect(found: Mapping[Unit, list[Result] | str | None]) -> list[Pipeline]:
    """The pipelines of the units of a plan, with what each found: its results, why it failed, or None: not run yet."""
    pipelines: dict[tuple[str, ...], Pipeline] = {}
    for unit, results in found.items():
        key = (unit.question.task.name, *unit.pipeline)
        pipeline = pipelines.setdefault(key, Pipeline(unit.question, unit.entry, unit.readout, unit.option))
        if results is None or isinstance(results, str):
            pipeline.reason = pipeline.reason or results or ""
            pipeline.unfinished += 1
        elif unit.fold == NULL:
            pipeline.null = results[0]
        else:
            folds = dict(enumerate(results)) if unit.fold == ALL else {unit.fold: results[0]}
            pipeline.folds.setdefault(unit.seed, {}).update(folds)
    return [*pipelines.values(), *map(chance, {id(unit.question): unit.question for unit in found}.values())]


def chance(question: Question) -> Pipeline:
    """Prediction without features: the largest class, or the mean target, of the training side."""
    pipeline = Pipeline(question, Entry(CHANCE, CHANCE, no_features), CHANCE, PLAIN)
    if not question.decodes:
        pairs = question.pairs
        people = pairs.people if isinstance(pairs, Matching) else np.unique(question.groups)
        rate = pairs.chance if isinstance(pairs, Matching | Segments) else 1 / len(question.rows)
        hits = dict.fromkeys(map(str, people), rate)
        pipeline.folds[0] = {0: Result(*NO_ROWS, {"hits": hits})}
        return pipeline
    found = zip(question.folds, question.chance(), strict=True)
    pipeline.folds[0] = {number: Result(split.test, scores, {}) for number, (split, scores) in enumerate(found)}
    return pipeline


def moabb_table(pipelines: Sequence[Pipeline], suite: str) -> pd.DataFrame:
    """One row per person, seed and pipeline: MOABB's columns, then task, read-out, option, kind, metric and seed.

    `evaluation` and `target_access` are in the words of MOABB, the latter those of its `CrossSubjectMode`. `score` is
    the tested metric inside the person, or the person's pseudo-value where labels belong to people (their mean is the
    metric over all, see `stats.compare.pseudo_values`).
    """
    rows = []
    for pipeline in pipelines:
        task, index = pipeline.question.task, pipeline.question.index
        level, published = task.split, task.as_published
        if task.train_on is not None and task.train_on.recipe:
            level = "dataset"
        elif published is not None and published.by not in ("subject", "part"):
            level = "run"
        sessions = index.groupby(["dataset", "subject"], observed=True)["session"].nunique(dropna=False)
        transductive = pipeline.option == RECENTRED or pipeline.n_seen > 0
        for seed, groups in pipeline.seeds.items():
            results = list(pipeline.folds[seed].values())
            for group, score in groups.items():
                dataset, _, subject = group.partition("/")
                row = {
                    "score": score,
                    "time": float(np.mean([result.about.get("time", 0.0) for result in results])),
                    "samples": int(np.mean([result.about.get("n_train", 0) for result in results])),
                    "subject": subject,
                    "session": "all",
                    "channels": int(index["n_channels"].median()),
                    "n_sessions": int(sessions.max()),
                    "dataset": dataset,
                    "pipeline": " | ".join((pipeline.entry.name, pipeline.readout, pipeline.option)),
                    "suite": suite,
                    "task": task.name,
                    "evaluation": EVALUATIONS.get(level, level),
                }
                row |= {**pipeline.about, "seed": seed, "transductive": transductive}
                rows.append({**row, "target_access": UNLABELLED_TARGET if transductive else NO_TARGET})
    return pd.DataFrame(rows, columns=None if rows else [*MOABB])


def summary(pipelines: Sequence[Pipeline]) -> pd.DataFrame:
    """One row per pipeline: score and gain over random weights, each with its 95 % interval over people.

    Columns: task, entry, kind, readout, option, metric, modality, score, low, high, fold_score (the metric of a test
    side, mean over folds and seeds) and fold_sd; against (name of the random weights), gain, gain_low, gain_high (over
    people), gain_low_any, gain_high_any (over people and initialisations), wins, losses, gain_p_value; chance, null_95,
    p_value, nuisance_p_value; identity, identity_chance, n_people, n_windows, n_features, n_seeds; cosine,
    cosine_others (resolution); transductive, unfinished, reason.
    """
    rows = []
    for task in dict.fromkeys(pipeline.question.task.name for pipeline in pipelines):
        own = [pipeline for pipeline in pipelines if pipeline.question.task.name == task]
        floor = next(pipeline for pipeline in own if pipeline.entry.kind == CHANCE)
        rows += [_line(pipeline, own, nanmean(floor.groups().values())) for pipeline in own]
    return pd.DataFrame(rows)


def _line(pipeline: Pipeline, own: Sequence[Pipeline], floor: float) -> dict[str, Any]:
    question = pipeline.question
    line = pipeline.about | {"modality": question.modality, "chance": floor, "n_windows": len(question.rows)}
    line |= {"transductive": pipeline.option == RECENTRED}
    line |= {"unfinished": pipeline.unfinished, "reason": pipeline.reason}
    if not pipeline.folds:
        return line
    groups = pipeline.groups()
    values = [value for value in groups.values() if np.isfinite(value)]
    line["transductive"] |= pipeline.n_seen > 0
    line["score"] = nanmean(values)
    line["low"], line["high"] = _interval(line["score"], standard_error(values), len(values))
    line["n_people"], line["n_seeds"] = len(values), len(pipeline.folds)
    if question.decodes:
        measured = [question.measure(question.y[r.rows], r.scores, r.rows) for r in pipeline.results()]
        line["fold_score"] = nanmean(measured)
        line["fold_sd"] = float(np.nanstd(measured, ddof=1)) if np.isfinite(measured).sum() > 1 else float("nan")
    for name in ("identity", "identity_chance", "n_features", "cosine", "cosine_others"):
        known = [result.about[name] for result in pipeline.results() if result.about.get(name) is not None]
        line[name] = float(np.mean(known)) if known else None
    line |= _significance(pipeline)
    random = random_of(pipeline, own)
    if random is not None:
        gain = paired(groups, random.groups(), question.metric not in LOWER_IS_BETTER)
        sign = -1 if question.metric in LOWER_IS_BETTER else 1
        line["against"], line["gain"] = random.entry.name, sign * gain["difference"]
        line["gain_low"], line["gain_high"] = _interval(line["gain"], gain["se"], gain["n_groups"])
        line["wins"], line["losses"], line["gain_p_value"] = gain["wins"], gain["losses"], gain["p_value"]
        scores = [nanmean(seed.values()) for seed in random.seeds.values()]
        line["gain_low_any"], line["gain_high_any"] = _over_initialisations(line["gain"], gain, scores)
    return line


def random_of(pipeline: Pipeline, own: Sequence[Pipeline]) -> Pipeline | None:
    """The random weights that a pipeline is held against: the same read-out and option, or ridge on plain features.

    A model is held against those of its own architecture, everything else against the first.
    """
    kind, architecture = pipeline.entry.kind, pipeline.entry.architecture
    if kind in (RANDOM, CHANCE):
        return None
    there = [other for other in own if other.entry.kind == RANDOM and other.folds]
    option = PLAIN if pipeline.option == EQUAL else pipeline.option
    if kind == MODEL:
        there = [other for other in there if other.entry.architecture == architecture]
    same = [other for other in there if (other.readout, other.option) == (pipeline.readout, option)]
    plain = [other for other in there if other.option == option and kind != MODEL]
    return next(iter(same or plain), None)


def _significance(pipeline: Pipeline) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    result = pipeline.null or next(iter(pipeline.folds[min(pipeline.folds)].values()))
    larger = pipeline.question.metric not in LOWER_IS_BETTER
    for name, prefix in (("null", ""), ("nuisance", "nuisance_")):
        values = result.about.get(name) or []
        if len(values) > 1:
            found[f"{prefix}null_95"] = float(np.nanquantile(values[1:], 0.95 if larger else 0.05))
            found[f"{prefix}p_value"] = p_value(values[0], np.array(values[1:]), larger)
    return found


def _interval(mean: float, error: float, n: int) -> tuple[float, float]:
    """95 % of Student's t over people."""
    if n < 2 or not np.isfinite(error):
        return float("nan"), float("nan")
    reach = float(student.ppf(0.975, n - 1)) * error
    return mean - reach, mean + reach


def _over_initialisations(gain: float, people: Mapping[str, Any], scores: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a gain over people and initialisations: another random network lies in it 19 times of 20.

    The variance over people and that of a new initialisation against the mean of `scores` add up (Welch-Satterthwaite).
    """
    k, n = len(scores), people["n_groups"]
    if k < 2 or n < 2 or not np.isfinite(people["se"]):
        return float("nan"), float("nan")
    parts = people["se"] ** 2, float(np.var(scores, ddof=1)) * (1 + 1 / k)
    _, reach = combined_error(parts, (n - 1, k - 1))
    return gain - reach, gain + reach


def best_classical(table: pd.DataFrame, task: str) -> str | None:
    """Name of the classical features with the best score on a task: chosen after the fact, which flatters them."""
    own = table[(table["task"] == task) & (table["kind"] == CLASSICAL) & ~table["transductive"].astype(bool)]
    own = own[own["score"].notna()] if "score" in own else own[:0]
    if own.empty:
        return None
    lower = own["metric"].iloc[0] in LOWER_IS_BETTER
    row = own.sort_values("score", ascending=lower, kind="stable").iloc[0]
    return f"{row['entry']} ({row['readout']}, {row['option']})"


def page(suite: Suite, lines: pd.DataFrame, told: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of all tasks, what is absent and what was refused.

    `lines` is the `summary`; `told` maps a task to "said" (what was asked, see `said`), "absent" (fields of an Absent)
    or "refused" (why).
    """
    legend = "" if all(task.kind == "resolution" for task in suite.tasks.values()) else f"\n\n{_LEGEND}"
    parts = [f"# Suite {suite.name} {suite.version}\n\n{suite.title}{legend}", *(f"- {n}" for n in suite.notes)]
    order = (MODEL, RANDOM, CLASSICAL, NETWORK, CONTROL, CHANCE)
    for name, about in told.items():
        if not about.get("said"):
            continue
        own, task, text = lines[lines["task"] == name], suite.tasks[name], about["said"]
        if task.kind == "resolution":
            found = table(own, task.floors)
        else:
            if (best := best_classical(lines, name)) is not None:
                text += f" Best classical (chosen after the fact): {best}."
            own = own.sort_values("kind", key=lambda kinds: kinds.map(order.index), kind="stable")
            found = markdown_table(_COLUMNS, map(_cells, own.to_dict("records")))
        parts.append(f"\n## {name}\n\n{text}\n\n{found}")
    absent = [about["absent"] for about in told.values() if about.get("absent")]
    if absent:
        rows = [(one["task"], f"`{one['dataset']}`", one["why"], one["access"]) for one in absent]
        found = markdown_table(("task", "dataset", "why", "access"), rows)
        parts.append(f"\n## Data that are not here\n\n{found}")
    refused = [f"- **{name}**: {about['refused']}" for name, about in told.items() if about.get("refused")]
    if refused:
        parts.append("\n".join(["\n## Refused\n", *refused]))
    return "\n".join(parts) + "\n"


_LEGEND = """\
Scores are means over people of the tested metric, with 95 % intervals over people (Student's t); where labels belong to
people the interval is that of pseudo-values. *Gain over random weights* is the paired difference from the same
architecture with random weights (mean of its seeds), read out the same way; its interval is over people, and the one
beside it over people and initialisations: another random network would lie in it 19 times of 20. *Null* and *p* are of
label permutation; the p in brackets keeps the nuisance. *Who is it* is how often features tell a test person
from the others of the fold (its chance in brackets). Rows marked *transductive* used unlabelled windows of test people.

Read-out *match* compares features by correlation and trains nothing. Features are *plain* as they are; *equal* on at
most as many principal components as one latent of the model is wide; *recentred* standardised over a person's run
(film) or over all sessions (identification), else inside each person; *centred* less the person's mean in training,
less the mean of training people in the test; *erased* without the axes that tell training people apart. Where windows
and features are both more than 2048, features are first projected on 1024 fixed random directions.
"""


def said(question: Question) -> str:
    """What a task asks of which data, and what others reached."""
    task = question.task
    people = len(np.unique(question.people))
    folds = f", {len(question.folds)} folds by {task.split.removeprefix('label.')}" if question.folds else ""
    folds += f" and {task.also}" if task.also else ""
    metric = question.metric.replace("_", " ")
    parts = [f"{task.asks}." if task.asks else "", f"{task.kind.capitalize()}, {metric};"]
    parts.append(f"{len(question.rows)} windows of {people} people{folds}.")
    if task.tested:
        parts.append(f"Scored are {len(set(question.tested['subject']))} of them; the others are on training sides.")
    if task.sided:
        parts.append(f"Trained on {(task.train_on or Side()).text()}; tested on {(task.test_on or Side()).text()}.")
    if task.pool != "auto":
        parts.append(f"Latents of models with these outputs are pooled as `{task.pool}`.")
    if task.reference is not None and task.reference.score is not None:
        parts.append(f"Reference: {task.reference.score} {task.reference.metric} ({task.reference.text}).")
    return " ".join(part for part in parts if part)


def _cells(line: dict) -> list[str]:
    """A line of the summary as it stands in the table of a task."""
    note = line["reason"] if isinstance(line.get("reason"), str) else ""
    if line["unfinished"] and not note:
        note = f"{line['unfinished']} runs unfinished"
    if line["transductive"]:
        note = f"transductive; {note}".rstrip("; ")
    p, kept, who = (_number(line.get(key)) for key in ("p_value", "nuisance_p_value", "identity"))
    p += f" ({kept})" if kept else ""
    who += f" ({_number(line.get('identity_chance'))})" if who else ""
    name = f"**{line['entry']}**" if line["kind"] == MODEL else str(line["entry"])
    gain = _between(line, "gain", "gain_", sign=True)
    anyone = [_number(line.get(f"gain_{end}_any"), sign=True) for end in ("low", "high")]
    spread = f"[{anyone[0]}, {anyone[1]}]" if all(anyone) else ""
    cells = [name, line["readout"], line["option"], gain, spread, _between(line, "score")]
    cells += [_number(line.get("null_95")), p, who]
    return [*map(str, cells), note.replace("|", "/")]


def _between(line: dict, name: str, ends: str = "", sign: bool = False) -> str:
    value, low, high = (_number(line.get(key), sign) for key in (name, f"{ends}low", f"{ends}high"))
    return f"{value} [{low}, {high}]" if value and low and line["kind"] != CHANCE else value


def _number(value: Any, sign: bool = False) -> str:
    return "" if pd.isna(value) else f"{float(value):{'+' if sign else ''}.3f}"
