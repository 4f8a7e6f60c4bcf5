"""The page of an evaluation as Markdown: one table per task, the gain over random weights first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .entries import CHANCE, CLASSICAL, CONTROL, MODEL, NETWORK, RANDOM
from .questions import Question
from .resolution import table
from .suite import Side, Suite
from .summary import best_classical

_COLUMNS = (
    *("", "read-out", "features", "gain over random weights", "and over initialisations", "score"),
    *("null 95 %", "p", "who is it", "note"),
)
_HEAD = "| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|"


def page(suite: Suite, lines: pd.DataFrame, told: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of all tasks, what is absent and what was refused.

    `lines` is the `summary`; `told` maps a task to "said" (what was asked, see `said`), "absent" (fields of an Absent)
    or "refused" (why).
    """
    legend = "" if all(task.kind == "resolution" for task in suite.tasks.values()) else f"\n\n{_LEGEND}"
    parts = [f"# Suite {suite.name} {suite.version}\n\n{suite.title}{legend}", *(f"- {n}" for n in suite.notes)]
    for name, about in _having(told, "said"):
        own, task, text = lines[lines["task"] == name], suite.tasks[name], about["said"]
        if task.kind == "resolution":
            parts.append(f"\n## {name}\n\n{text}\n\n{table(own, task.floors)}")
        else:
            parts.append(_section(name, text, own))
    rows = [
        "| {task} | `{dataset}` | {why} | {access} |".format(**about["absent"]) for _, about in _having(told, "absent")
    ]
    if rows:
        parts.append("\n".join([_ABSENT, *rows]))
    refused = [f"- **{name}**: {about['refused']}" for name, about in _having(told, "refused")]
    if refused:
        parts.append("\n".join(["\n## Refused\n", *refused]))
    return "\n".join(parts) + "\n"


def _having(told: Mapping[str, Mapping[str, Any]], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, about) for name, about in told.items() if about.get(key)]


_ABSENT = "\n## Data that are not here\n\n| task | dataset | why | access |\n|---|---|---|---|"

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


def _section(name: str, about: str, lines: pd.DataFrame) -> str:
    if (best := best_classical(lines, name)) is not None:
        about += f" Best classical (chosen after the fact): {best}."
    order = {MODEL: 0, RANDOM: 1, CLASSICAL: 2, NETWORK: 3, CONTROL: 4, CHANCE: 5}
    rows = lines.assign(_order=lines["kind"].map(order)).sort_values("_order", kind="stable").to_dict("records")
    return "\n".join([f"\n## {name}\n", about, "", _HEAD, *map(_row, rows)])


def _row(line: dict) -> str:
    note = line["reason"] if isinstance(line.get("reason"), str) else ""
    if line["unfinished"] and not note:
        note = f"{line['unfinished']} runs unfinished"
    if line["transductive"]:
        note = f"transductive; {note}".rstrip("; ")
    p = _number(line.get("p_value"))
    if (kept := _number(line.get("nuisance_p_value"))) != "":
        p = f"{p} ({kept})"
    who = _number(line.get("identity"))
    if who:
        who = f"{who} ({_number(line.get('identity_chance'))})"
    name = f"**{line['entry']}**" if line["kind"] == MODEL else str(line["entry"])
    gain = _between(line, "gain", sign=True)
    anyone = [_number(line.get(f"gain_{end}_any"), sign=True) for end in ("low", "high")]
    spread = f"[{anyone[0]}, {anyone[1]}]" if all(anyone) else ""
    cells = [name, line["readout"], line["option"], gain, spread, _between(line, "score")]
    cells += [_number(line.get("null_95")), p, who]
    return "| " + " | ".join([*map(str, cells), note.replace("|", "/")]) + " |"


def _between(line: dict, name: str, sign: bool = False) -> str:
    low, high = ("low", "high") if name == "score" else (f"{name}_low", f"{name}_high")
    value = _number(line.get(name), sign)
    if not value or _number(line.get(low)) == "" or line["kind"] == CHANCE:
        return value
    return f"{value} [{_number(line[low], sign)}, {_number(line[high], sign)}]"


def _number(value: object, sign: bool = False) -> str:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{float(value):+.3f}" if sign else f"{float(value):.3f}"  # type: ignore[arg-type]
