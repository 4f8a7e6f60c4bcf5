"""The page of an evaluation as Markdown: one table per task, the gain over random weights first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from .entries import CLASSICAL, CONTROL, MODEL, RANDOM
from .questions import Question
from .sources import Absent
from .suite import Suite
from .summary import CHANCE, best_classical

_HEAD = "| | read-out | features | gain over random weights | score | null 95 % | p | who is it | note |"


def page(
    suite: Suite,
    lines: pd.DataFrame,
    questions: Mapping[str, Question],
    absent: Sequence[Absent],
    refused: Mapping[str, str],
) -> str:
    """Markdown of all tasks, what is absent and what was refused.

    Parameters
    ----------
    lines : DataFrame
        `summary` of the pipelines.
    questions : dict of task -> Question
    """
    parts = [f"# Suite {suite.name} {suite.version}\n\n{suite.title}\n\n{_LEGEND}"]
    parts += [f"- {note}" for note in suite.notes]
    for name, question in questions.items():
        parts.append(_section(name, question, lines[lines["task"] == name]))
    if absent:
        rows = [f"| {one.task} | `{one.dataset}` | {one.why} | {one.access} |" for one in absent]
        parts.append(
            "\n".join(
                ["\n## Data that are not here\n", "| task | dataset | why | access |", "|---|---|---|---|", *rows]
            )
        )
    if refused:
        parts.append("\n".join(["\n## Refused\n", *(f"- **{name}**: {reason}" for name, reason in refused.items())]))
    return "\n".join(parts) + "\n"


_LEGEND = """\
Scores are means over people of the tested metric, with 95 % intervals over people (Student's t); where labels belong to
people the interval is that of pseudo-values. *Gain over random weights* is the paired difference from the same
architecture with random weights (mean of its seeds), read out the same way; its interval is over people. *Null* and
*p* are of label permutation; the p in brackets keeps the nuisance. *Who is it* is how often features tell a test person
from the others of the fold (its chance in brackets). Rows marked *transductive* used unlabelled windows of test people.
"""


def _section(name: str, question: Question, lines: pd.DataFrame) -> str:
    task = question.task
    people = len(set(question.index["dataset"].astype(str) + "/" + question.index["subject"].astype(str)))
    folds = f", {len(question.folds)} folds by {task.split}" if question.folds else ""
    folds += f" and {task.also}" if task.also else ""
    metric = question.metric.replace("_", " ")
    said = [f"{task.asks}." if task.asks else "", f"{task.kind.capitalize()}, {metric};"]
    said.append(f"{len(question.rows)} windows of {people} people{folds}.")
    if task.reference is not None and task.reference.score is not None:
        said.append(f"Reference: {task.reference.score} {task.reference.metric} ({task.reference.text}).")
    if (best := best_classical(lines, name)) is not None:
        said.append(f"Best classical (chosen after the fact): {best}.")
    order = {MODEL: 0, RANDOM: 1, CLASSICAL: 2, CONTROL: 3, CHANCE: 4}
    rows = lines.assign(_order=lines["kind"].map(order)).sort_values("_order", kind="stable").to_dict("records")
    head = [f"\n## {name}\n", " ".join(text for text in said if text), "", _HEAD, "|---" * 9 + "|"]
    return "\n".join([*head, *map(_row, rows)])


def _row(line: dict) -> str:
    note = str(line.get("reason") or "")
    if line["transductive"]:
        note = f"transductive; {note}".rstrip("; ")
    if line["unfinished"] and not line.get("reason"):
        note = f"{line['unfinished']} runs unfinished; {note}".rstrip("; ")
    p = _number(line.get("p_value"))
    if (kept := _number(line.get("nuisance_p_value"))) != "":
        p = f"{p} ({kept})"
    who = _number(line.get("identity"))
    if who:
        who = f"{who} ({_number(line.get('identity_chance'))})"
    name = f"**{line['entry']}**" if line["kind"] == MODEL else str(line["entry"])
    gain = _between(line, "gain", sign=True)
    cells = [name, line["readout"], line["option"], gain, _between(line, "score"), _number(line.get("null_95")), p, who]
    return "| " + " | ".join([*map(str, cells), note.replace("|", "/")]) + " |"


def _between(line: dict, name: str, sign: bool = False) -> str:
    low, high = ("low", "high") if name == "score" else (f"{name}_low", f"{name}_high")
    value = _number(line.get(name), sign)
    if not value or _number(line.get(low)) == "":
        return value
    return f"{value} [{_number(line[low], sign)}, {_number(line[high], sign)}]"


def _number(value: object, sign: bool = False) -> str:
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{float(value):+.3f}" if sign else f"{float(value):.3f}"  # type: ignore[arg-type]
