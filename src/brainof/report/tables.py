"""Tables of the reports: rows of `evaluate_task` in the form in which a paper prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

Rows = Sequence[Mapping[str, Any]]

#: Keys of what a release records of its data
DATA = ("dataset", "modality", "people", "recordings", "windows", "hours", "license")
#: Keys of score and paired rows, and columns of the summary of a suite; the score first, for narrow screens
_SCORE = ("task", "features", "score", "sd", "group_se", "chance", "null_95", "p_value", "metric")
_PAIRED = ("task", "features", "against", "difference", "se", "wins", "losses", "p_value")
_SUMMARY = (
    *("task", "entry", "score", "interval", "gain", "gain_interval", "cosine", "chance", "null_95", "p_value"),
    *("metric", "readout", "identity", "n_people", "n_windows", "transductive"),
)
#: Keys that have another name on the page
_NAMES = {"people": "subjects", "sd": "SD (folds)", "group_se": "SE (subjects)", "null_95": "null 95 %"}
_NAMES |= {"p_value": "p (null)", "se": "SE", "interval": "95 %", "gain_interval": "gain, 95 %"}
_NAMES |= {"readout": "read-out", "n_people": "subjects", "n_windows": "windows"}


def renamed(lines: Iterable[Mapping[Any, Any]], keys: Iterable[str]) -> pd.DataFrame:
    """Lines as a table of some of their keys, under the names of the page; empty without lines."""
    return pd.DataFrame([{_NAMES.get(key, key): line.get(key) for key in keys} for line in lines])


def tested(rows: Rows, kind: str) -> list[Mapping[str, Any]]:
    """Rows of one kind ("score", "paired", "group"): of windows or sessions, and of the first metric of each task."""
    own = [row for row in rows if row["level"] in ("window", "session")]
    metrics = {row["task"]: row["metric"] for row in reversed(own) if row["row"] == "score"}
    return [row for row in own if row["row"] == kind and row["metric"] == metrics.get(row["task"])]


def shown_name(row: Mapping[str, Any]) -> str:
    """Features, and whether they were recentred."""
    return row["features"] + (" (recentred)" if row["recentred"] else "")


def score_table(rows: Rows) -> pd.DataFrame:
    """One line per task and set of features: mean and SD over folds, SE over subjects, chance, p value of the null."""
    scores = [row for row in tested(rows, "score") if row["features"] != "chance"]  # it has its own column
    lines = [{**row, "features": shown_name(row), "metric": row["metric"].replace("_", " ")} for row in scores]
    return renamed(lines, _SCORE)


def paired_table(rows: Rows) -> pd.DataFrame:
    """One line per comparison: mean difference over subjects, wins and losses, Wilcoxon p value."""
    both = {True: " (both recentred)", False: ""}
    lines = ({**row, "against": row["against"] + both[row["recentred"]]} for row in tested(rows, "paired"))
    return renamed(lines, _PAIRED).rename(columns={"p (null)": "p (Wilcoxon)"})


def gain_rows(rows: Rows) -> list[dict[str, Any]]:
    """What the reference gained over the same model untrained: task, difference, 95 % interval, p, and the verdict."""
    found = []
    for row in tested(rows, "paired"):
        if row["against"] in ("untrained", "random weights") and not row["recentred"]:
            difference, half = row["difference"], 1.96 * (row.get("se") or float("nan"))
            decided = row.get("p_value") is not None and row["p_value"] < 0.05
            verdict = ("won" if difference > 0 else "lost") if decided else "open"
            about = {"task": row["task"], "difference": difference, "low": difference - half, "high": difference + half}
            found.append({**about, "p": row.get("p_value"), "verdict": verdict})
    return found


def summary_table(frame: pd.DataFrame) -> pd.DataFrame:
    """`summary.csv` of an evaluation as a page shows it: intervals in one column, columns that say nothing left out."""
    table = frame.assign(metric=frame["metric"].str.replace("_", " "))
    for name, low, high in (("interval", "low", "high"), ("gain_interval", "gain_low", "gain_high")):
        if low in table:
            ends = zip(table[low], table[high], strict=True)
            table[name] = [f"{a:.3f} to {b:.3f}" if pd.notna(a) and pd.notna(b) else None for a, b in ends]
    usual = table["option"].isin(["plain", ""])  # one column, so that a page of 1280 pixels shows all of them
    table["readout"] = table["readout"].where(usual, table["readout"] + ", " + table["option"])
    if "transductive" in table and not table["transductive"].any():
        table = table.drop(columns="transductive")
    kept = [name for name in _SUMMARY if name in table]
    return table[kept].dropna(axis=1, how="all").rename(columns=_NAMES)
