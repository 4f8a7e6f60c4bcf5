"""Tables of the reports: rows of `evaluate_task` in the form in which a paper prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

Rows = Sequence[Mapping[str, Any]]


def score_table(rows: Rows, level: str = "window") -> pd.DataFrame:
    """One line per task and set of features: mean and SD over folds, SE over subjects, chance, p value of the null.

    Parameters
    ----------
    rows : list of dict
        From `evaluate_task`, of one or several tasks.
    level : {"window", "file"}
        Identification has its own level and is always listed.
    """
    main = {row["task"]: row["metric"] for row in reversed(rows) if row["row"] == "score"}  # the first of each task
    lines = []
    for row in rows:
        if row["row"] != "score" or row["level"] not in (level, "session") or row["metric"] != main[row["task"]]:
            continue
        if row["features"] == "chance":  # it has its own column
            continue
        name = row["features"] + (" (recentred)" if row["recentred"] else "")
        lines.append(
            {
                "task": row["task"],
                "features": name,
                "score": row["score"],
                "SD (folds)": row.get("sd"),
                "SE (subjects)": row["group_se"],
                "chance": row["chance"],
                "null 95 %": row.get("null_95"),
                "p (null)": row.get("p_value"),
                "metric": str(row["metric"]).replace("_", " "),
            }
        )
    return pd.DataFrame(lines)


def paired_table(rows: Rows, level: str = "window") -> pd.DataFrame:
    """One line per comparison: mean difference over subjects, wins and losses, Wilcoxon p value."""
    metrics = {row["task"]: row["metric"] for row in reversed(rows) if row["row"] == "score"}
    lines = [
        {
            "task": row["task"],
            "features": row["features"],
            "against": row["against"] + (" (both recentred)" if row["recentred"] else ""),
            "difference": row["difference"],
            "SE": row["se"],
            "wins": row["wins"],
            "losses": row["losses"],
            "p (Wilcoxon)": row["p_value"],
        }
        for row in rows
        if row["row"] == "paired" and row["level"] in (level, "session") and row["metric"] == metrics[row["task"]]
    ]
    return pd.DataFrame(lines)


def gain_rows(rows: Rows, level: str = "window") -> list[dict[str, Any]]:
    """What the reference gained over the same model untrained: task, difference, 95 % interval, p, and the verdict."""
    metrics = {row["task"]: row["metric"] for row in reversed(rows) if row["row"] == "score"}
    found = []
    for row in rows:
        if row["row"] != "paired" or row["against"] != "untrained" or row["recentred"]:
            continue
        if row["level"] not in (level, "session") or row["metric"] != metrics.get(row["task"]):
            continue
        difference, half = row["difference"], 1.96 * (row.get("se") or float("nan"))
        decided = row.get("p_value") is not None and row["p_value"] < 0.05
        verdict = ("won" if difference > 0 else "lost") if decided else "open"
        about = {"task": row["task"], "difference": difference, "low": difference - half, "high": difference + half}
        found.append({**about, "p": row.get("p_value"), "verdict": verdict})
    return found


#: Columns of the summary of a suite, the score first for narrow screens -> their names on the page
_SUMMARY = {
    "task": "task",
    "entry": "entry",
    "score": "score",
    "interval": "95 %",
    "gain": "gain",
    "gain_interval": "gain, 95 %",
    "cosine": "cosine",
    "chance": "chance",
    "null_95": "null 95 %",
    "p_value": "p (null)",
    "metric": "metric",
    "readout": "read-out",
    "identity": "identity",
    "n_people": "subjects",
    "n_windows": "windows",
    "transductive": "transductive",
}


def summary_table(frame: pd.DataFrame) -> pd.DataFrame:
    """`summary.csv` of an evaluation as a page shows it: intervals in one column, columns that say nothing left out."""
    table = frame.assign(metric=frame["metric"].str.replace("_", " "))
    for name, low, high in (("interval", "low", "high"), ("gain_interval", "gain_low", "gain_high")):
        if low in table:
            ends = zip(table[low], table[high], strict=True)
            table[name] = [f"{a:.3f} to {b:.3f}" if pd.notna(a) and pd.notna(b) else None for a, b in ends]
    if "option" in table:  # one column, so that a page of 1280 pixels shows all of them
        usual = table["option"].isin(["plain", ""])
        table["readout"] = table["readout"].where(usual, table["readout"] + ", " + table["option"])
    if "transductive" in table and not table["transductive"].any():
        table = table.drop(columns="transductive")
    kept = [name for name in _SUMMARY if name in table]
    return table[kept].dropna(axis=1, how="all").rename(columns=_SUMMARY)
