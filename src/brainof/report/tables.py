"""Tables of the reports: rows of `evaluate_task` in the form in which a paper prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

Rows = Sequence[Mapping[str, Any]]


def score_table(rows: Rows, level: str = "window") -> pd.DataFrame:
    """One line per task and set of features: mean and SD over folds, SE over people, chance, p value of the null.

    Parameters
    ----------
    rows : list of dict
        From `evaluate_task`, of one or several tasks.
    level : {"window", "file"}
        Identification has its own level and is always listed.
    """
    lines = []
    for row in rows:
        if row["row"] != "score" or row["level"] not in (level, "session"):
            continue
        if row["metric"] not in ("balanced_accuracy", "roc_auc", "mae", "pearson", "top1"):
            continue
        name = row["features"] + (" (recentred)" if row["recentred"] else "")
        lines.append(
            {
                "task": row["task"],
                "features": name,
                "metric": str(row["metric"]).replace("_", " "),
                "score": row["score"],
                "SD (folds)": row.get("sd"),
                "SE (people)": row["group_se"],
                "chance": row["chance"],
                "null 95 %": row.get("null_95"),
                "p (null)": row.get("p_value"),
            }
        )
    return pd.DataFrame(lines)


def paired_table(rows: Rows, level: str = "window") -> pd.DataFrame:
    """One line per comparison: mean difference over people, wins and losses, Wilcoxon p value."""
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
