"""Tables of the objective study, from the lines of its ledger: means over seeds, then statistics over people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainof.stats.compare import paired, standard_error

Rows = Sequence[Mapping[str, Any]]


#: Poolings that the overview shows
PROBES = {
    "features": "probe, concat",
    "mean_std": "probe, mean + SD",
    "concat": "probe, concat",
    "mean_std@log_spectrum": "probe, mean + SD of the spectral share",
    "concat@log_spectrum": "probe, concat of the spectral share",
}


def per_person(rows: Rows, cell: str, question: str, pooling: str) -> dict[str, float]:
    """Score of each person for a cell and pooling, averaged over the runs that tested the person."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["cell"] == cell:
            for person, score in row.get(question, {}).get(pooling, {}).items():
                found.setdefault(person, []).append(score)
    return {person: float(np.mean(scores)) for person, scores in sorted(found.items())}


def explained(rows: Rows, cell: str, dataset: str, key: str) -> tuple[float, float]:
    """Mean and standard deviation over runs of an explained variance."""
    values = [
        row["r2"][dataset][key] for row in rows if row["cell"] == cell and key in row.get("r2", {}).get(dataset, {})
    ]
    return (float(np.mean(values)), float(np.std(values))) if values else (float("nan"), float("nan"))


def cells_of(rows: Rows) -> list[str]:
    """Cells in the order in which they were first finished."""
    return list(dict.fromkeys(str(row["cell"]) for row in rows))


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def overview(rows: Rows) -> pd.DataFrame:
    """One line per cell: runs, explained variance of people left out, and the probe with its standard error."""
    lines = []
    for cell in cells_of(rows):
        own = [row for row in rows if row["cell"] == cell]
        if not any("decoding" in row for row in own):
            continue
        line: dict[str, Any] = {"cell": cell, "runs": len(own)}
        line["R2 eegmat"], line["R2 spread"] = explained(rows, cell, "eegmat", "r2")
        line["shuffled"] = explained(rows, cell, "eegmat", "r2_shuffled")[0]
        line["R2 log spectrum"] = explained(rows, cell, "eegmat", "r2_log_spectrum")[0]
        line["R2 connectivity"] = explained(rows, cell, "eegmat", "r2_connectivity")[0]
        for pooling in _poolings(own, "decoding"):
            if pooling in PROBES:
                scores = list(per_person(rows, cell, "decoding", pooling).values())
                name = PROBES[pooling]
                line[name] = f"{_mean(scores):.3f} +- {standard_error(scores):.3f}"
        lines.append(line)
    return pd.DataFrame(lines)


def simulated_table(rows: Rows) -> pd.DataFrame:
    """One line per cell: explained variance and probe of simulated people left out."""
    poolings = ("features", "mean_std", "concat", "concat@log_spectrum", "concat@connectivity")
    lines = []
    for cell in cells_of(rows):
        line: dict[str, Any] = {"cell": cell}
        for name in ("simulated_eeg", "simulated_fmri"):
            line[f"R2 {name}"] = explained(rows, cell, name, "r2")[0]
            for pooling in poolings:
                scores = list(per_person(rows, cell, name, pooling).values())
                if scores:
                    line[f"{name}, {pooling.replace('features', 'concat')}"] = _mean(scores)
        if len(line) > 3:
            lines.append(line)
    return pd.DataFrame(lines)


def identification_table(rows: Rows) -> pd.DataFrame:
    """One line per cell: top-1 identification of each pooling, mean over people and runs."""
    lines = []
    for cell in cells_of(rows):
        own = [row for row in rows if row["cell"] == cell]
        poolings = _poolings(own, "identification")
        if poolings:
            scores = {pooling: per_person(rows, cell, "identification", pooling) for pooling in poolings}
            lines.append({"cell": cell, "runs": len(own), **{name: _mean(s.values()) for name, s in scores.items()}})
    return pd.DataFrame(lines)


def paired_rows(rows: Rows, first: str, others: Iterable[str], question: str, pooling: str) -> pd.DataFrame:
    """One cell against others, person by person (people that both tested).

    Others that have no shares are pooled over all their latents; classical features are not pooled.
    """
    own = per_person(rows, first, question, pooling)
    lines = []
    for other in others:
        tried = (per_person(rows, other, question, name) for name in (pooling, pooling.partition("@")[0], "features"))
        theirs = next((scores for scores in tried if scores), {})
        if other == first or not own or not theirs:
            continue
        result = paired(own, theirs)
        lines.append(
            {
                "cell": first,
                "against": other,
                "pooling": pooling,
                "people": result["n_groups"],
                "difference": result["difference"],
                "SE": result["se"],
                "wins": result["wins"],
                "losses": result["losses"],
                "p (Wilcoxon)": result["p_value"],
            }
        )
    return pd.DataFrame(lines)


def _poolings(rows: Rows, question: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.get(question, {})))


def markdown(frame: pd.DataFrame, digits: int = 3) -> str:
    """A table as Markdown; missing values are empty."""

    def cell(value: Any) -> str:
        if isinstance(value, (float, np.floating)):
            return "" if not np.isfinite(value) else f"{value:.{digits}f}"
        return str(value)

    lines = ["| " + " | ".join(map(str, frame)) + " |", "|" + "---|" * frame.shape[1]]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in frame.itertuples(index=False, name=None)]
    return "\n".join(lines)
