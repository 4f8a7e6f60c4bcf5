"""Tables of the reports: the summary of an evaluation, and its people, in the form in which a paper prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..stats.compare import paired
from ..stats.metrics import LOWER_IS_BETTER

#: Keys of what a release records of its data
DATA = ("dataset", "modality", "people", "recordings", "windows", "hours", "license")
#: Columns of the summary of an evaluation; the score first, for narrow screens
_SUMMARY = (
    *("task", "entry", "score", "interval", "gain", "gain_interval", "cosine", "chance", "null_95", "p_value"),
    *("metric", "readout", "identity", "n_people", "n_windows", "transductive"),
)
#: Keys that have another name on the page
_NAMES = {"people": "subjects", "null_95": "null 95 %", "p_value": "p (null)"}
_NAMES |= {"interval": "95 %", "gain_interval": "gain, 95 %"}
_NAMES |= {"readout": "read-out", "n_people": "subjects", "n_windows": "windows"}
#: What tells the rows of one set of features from others
PIPELINE = ["task", "entry", "readout", "option"]


def renamed(lines: Iterable[Mapping[Any, Any]], keys: Iterable[str]) -> pd.DataFrame:
    """Lines as a table of some of their keys, under the names of the page; empty without lines."""
    return pd.DataFrame([{_NAMES.get(key, key): line.get(key) for key in keys} for line in lines])


def by_person(people: pd.DataFrame) -> pd.DataFrame:
    """Results of an evaluation, a row per person, a column per (task, entry, read-out, option); means over seeds."""
    if people.empty:
        return pd.DataFrame()
    return people.pivot_table("score", ["dataset", "subject"], PIPELINE, sort=False)


def trained_models(lines: pd.DataFrame) -> pd.DataFrame:
    """The rows of a summary that are of models, without those whose weights are random."""
    return lines[(lines["kind"] == "model") & ~lines["entry"].str.endswith("(random weights)")]


def gain_rows(lines: pd.DataFrame) -> list[dict[str, Any]]:
    """What the models of a summary gained over random weights: task, difference, 95 % interval, and the verdict.

    Won or lost is what lies outside zero over subjects, and over initialisations where that is known.
    """
    models = trained_models(lines)
    several, found = models["entry"].nunique() > 1, []
    for row in models[models["gain"].notna()].to_dict("records"):
        # with the model where there are several
        about = [row["entry"]] * several + [row["readout"]] + [row["option"]] * (row["option"] not in ("plain", ""))
        low = np.nanmin([row["gain_low"], row["gain_low_any"]])
        high = np.nanmax([row["gain_high"], row["gain_high_any"]])
        gain = {"task": f"{row['task']} ({', '.join(map(str, about))})", "entry": row["entry"]}
        gain |= {"difference": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}
        found.append({**gain, "verdict": "won" if low > 0 else "lost" if high < 0 else "open"})
    return found


def paired_table(lines: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """By how much each model is better than what else was read out the same way, paired by subject; two models once."""
    scores, models, rows = by_person(people), trained_models(lines), []
    names = models["entry"].unique().tolist()
    for model in models.to_dict("records"):
        task, entry, *how = pipeline = tuple(model[key] for key in PIPELINE)
        done = names[: names.index(entry) + 1]
        lower = model["metric"] in LOWER_IS_BETTER
        for other in scores.columns.tolist() if pipeline in scores else ():
            if other[0] == task and other[1] not in done and [*other[2:]] == how:
                found = paired(scores[pipeline].to_dict(), scores[other].to_dict(), not lower)
                about = {"task": task, "model": entry, "read-out": how[0], "option": how[1], "against": other[1]}
                about |= {"difference": (-1 if lower else 1) * found["difference"], "SE": found["se"]}
                about |= {"wins": found["wins"], "losses": found["losses"], "p (Wilcoxon)": found["p_value"]}
                rows.append(about)
    table = pd.DataFrame(rows)
    # what is the same in all lines is left out, and a phone has room for the difference
    return table.drop(columns=[name for name in ("model", "read-out", "option") if rows and table[name].nunique() == 1])


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
