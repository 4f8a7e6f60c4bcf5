"""Resolution: are the features of a window those of the signal, or those of its sampling rate and of its sensors?

The same recordings are prepared at several sampling rates (their band-pass is the same, so that no rate holds more
signal), or sensors are left out. Each window is compared with itself: by the cosine of both features about their mean
over the windows as prepared, and by whether each finds the other among all windows of the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator

from ..errors import LabelError
from ..schema import Schema, wrong
from ..signals import SignalBatch
from ..stats.metrics import identification
from ..utils.console import markdown_table

if TYPE_CHECKING:
    from ..corpus import Windows


#: Rows of the same windows at each sampling rate, in one order; None is the rate that the recipe prepares
Resolutions = dict[float | None, np.ndarray]
#: Name of the read-out, which trains nothing
READOUT = "resolution"


class Change(Schema):
    """Another resolution of the same recordings, and which one it is compared with."""

    sfreq: float | None = Field(default=None, gt=0)
    """Hz at which recordings are prepared; None: as the recipe says."""
    dropped: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the good sensors of each recording that is left out, drawn at random."""
    against: float | None = Field(default=None, gt=0)
    """Hz of what it is compared with; None: as the recipe says, with all sensors."""

    @model_validator(mode="after")
    def _changes(self) -> Self:
        if self.sfreq is None and not self.dropped:
            raise wrong("nothing is changed; give sfreq or dropped")
        return self

    @property
    def name(self) -> str:
        parts = [f"{self.sfreq:g} Hz"] if self.sfreq else []
        parts += [f"{100 * self.dropped:.0f} % of sensors dropped"] if self.dropped else []
        return ", ".join(parts) + (f" against {self.against:g} Hz" if self.against else "")


class Fewer:
    """A corpus whose recordings lack a fraction of their good sensors; each recording others, always the same."""

    def __init__(self, corpus: Windows, dropped: float) -> None:
        self.corpus, self.dropped = corpus, dropped
        # features are kept on disk by the checksums of the windows that they are of
        self.index = corpus.index.assign(crc32c=corpus.index["crc32c"].astype(str) + f" less {dropped:g}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.corpus, name)

    def batch(self, rows: Sequence[int], patch: int = 64) -> SignalBatch:
        """As of the corpus; sensors that are left out are masked, as bad ones are."""
        batch = self.corpus.batch(rows, patch)
        mask_BC = batch.channel_mask_BC.clone()
        for place, recording in enumerate(self.index["recording"].iloc[list(rows)].astype(str)):
            good = np.flatnonzero(mask_BC[place].numpy())
            order = np.random.default_rng(crc32(recording.encode())).permutation(good)
            mask_BC[place, torch.from_numpy(order[: min(round(self.dropped * len(good)), len(good) - 1)])] = False
        return replace(batch, channel_mask_BC=mask_BC)


def resolutions(index: pd.DataFrame, task: str, dataset: str, rates: Sequence[float]) -> Resolutions:
    """Rows of the windows that all rates have (a LabelError: fewer than two); `rated` names the dataset of a rate."""
    windows = {}
    for rate in (None, *rates):
        own = np.flatnonzero((index["dataset"] == rated(dataset, rate)) & (index["view"] == "pretrain"))
        about = index.iloc[own]
        windows[rate] = pd.Series(own, [about["recording"].astype(str), about["onset"].round(2)])
    table = pd.concat(list(windows.values()), axis=1, join="inner").sort_index()
    if len(table) < 2:
        raise LabelError(f"{len(table)} windows at all rates", field=f"{task}.changes", fix="give more recordings")
    return {rate: table.iloc[:, place].to_numpy(np.int64) for place, rate in enumerate(windows)}


def rated(dataset: str, sfreq: float | None) -> str:
    """Name of a dataset as it is prepared at another rate."""
    return dataset if sfreq is None else f"{dataset}-{sfreq:g}hz"


def compared(reference: np.ndarray, other: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """How alike the features (n, F) of the same windows are at two resolutions.

    `hits`: person -> share of windows that are most like themselves, from one resolution to the other and back, a mean
    of both; `cosine`: mean cosine of a window with itself; `cosine_others`: with other windows.
    """
    centre = reference.mean(axis=0, dtype=np.float64)
    first, second = (values - centre for values in (reference, other))
    first, second = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(min=1e-12) for x in (first, second))
    similarity = second @ first.T
    own, n = np.arange(len(first)), len(first)
    hits = np.mean([chosen == own for chosen in identification(similarity)], axis=0)
    return {
        "hits": {str(name): float(hits[groups == name].mean()) for name in np.unique(groups)},
        "cosine": float(np.trace(similarity) / n),
        "cosine_others": float((similarity.sum() - np.trace(similarity)) / max(1, n * (n - 1))),
    }


def missed(line: Mapping[Any, Any], floors: Mapping[Any, float]) -> list[str]:
    """Which floors ("cosine", "found") a line of the summary does not exceed."""
    found = {"cosine": line.get("cosine"), "found": line.get("score")}
    return [name for name, floor in floors.items() if not (found[name] or 0.0) > floor]


def table(lines: pd.DataFrame, floors: Mapping[Any, float]) -> str:
    """Markdown: each model and change, with what it misses; then a sentence on each model."""
    head = ("", "change", "cosine", "with other windows", "found, both ways", "floors")
    rows: list[list[str]] = []
    verdicts: dict[str, list[str]] = {}
    for line in lines[lines["readout"] == READOUT].to_dict("records"):
        if line["score"] is None or line["score"] != line["score"]:
            cells, below = ["", "", "", line["reason"] or f"{line['unfinished']} runs unfinished"], ["unfinished"]
        else:
            below = missed(line, floors)
            cells = [f"{line[key]:.3f}" for key in ("cosine", "cosine_others", "score")]
            cells.append(f"misses {' and '.join(below)}" if below else "reached")
        verdicts.setdefault(line["entry"], []).extend([line["option"]] if below else [])
        rows.append([line["entry"], line["option"], *cells])
    said = f"Floors: {' and '.join(f'{name} above {floor:g}' for name, floor in floors.items())}."
    for name, where in verdicts.items():
        said += f" {name}: the floors are {'missed at ' + '; '.join(where) if where else 'reached'}."
    return f"{markdown_table(head, rows)}\n\n{said}"
