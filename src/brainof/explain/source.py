"""What is explained: windows of one layout, with their labels and the subjects they come from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from ..channels import MODALITIES, Channels
from ..corpus import Windows
from ..errors import ConfigError, LabelError, check_known
from ..evaluation.entries import initialised
from ..evaluation.protocol import recipe_tasks, targets, task_rows
from ..inference.batches import patch_of
from ..inference.examples import CorpusRows, Examples, Subset
from ..inference.windows import InputOptions, as_input, read_samples
from ..model import BrainOF
from ..release import load
from ..stats.nulls import constant_within
from ..stats.splits import group_keys
from ..utils.modules import device_of
from ..utils.values import counted

#: Windows of one dataset at most
MOST = 200


@dataclass(frozen=True, eq=False)
class Explained:
    """Windows of one dataset (or file), modality and layout.

    Attributes
    ----------
    examples : Examples
        n windows; all fit one batch.
    table : DataFrame
        One row per window: onset, subject, recording, labels as far as they are known.
    y, classes : ndarray, shape (n,), or None; tuple of str
        Class codes and their names, or values of a regression and no names.
    groups : ndarray of str, shape (n,)
        Whom intervals and folds run over: the subject, or each window by itself where there is one subject.
    unit : {"subjects", "windows"}
    notes : tuple of str
        What was left out.
    """

    examples: Examples
    channels: Channels
    sfreq: float
    modality: str
    name: str
    table: pd.DataFrame
    groups: np.ndarray
    unit: str
    y: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    task: str = ""
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def recordings(self) -> np.ndarray:
        """The recording of each window; its group where that is unknown."""
        if "recording" not in self.table:
            return self.groups
        return self.table["recording"].astype("string").fillna("").to_numpy(dtype=str)

    @property
    def about(self) -> dict[str, Any]:
        """What a figure or table of these windows says of them."""
        about = {"name": self.name, "modality": self.modality, "windows": len(self), "unit": self.unit}
        return {**about, "task": self.task} if self.task else about

    def first(self, most: int) -> Explained:
        """At most so many windows, spread evenly over groups and labels."""
        if len(self) <= most:
            return self
        kept = spread(self.groups, self.y if self.classes else None, most)
        return replace(
            self,
            examples=Subset(self.examples, kept),
            table=self.table.iloc[kept].reset_index(drop=True),
            groups=self.groups[kept],
            y=None if self.y is None else self.y[kept],
        )


def spread(groups: np.ndarray, y: np.ndarray | None, most: int) -> np.ndarray:
    """Rows, at most so many: one of each group and label after the other, spread over their order."""
    frame = pd.DataFrame({"group": groups, "y": 0 if y is None else y})
    cell = frame.groupby(["group", "y"]).ngroup()
    # the golden ratio: however many are taken of a cell, they are spread over its order
    turn = frame.groupby(cell).cumcount() * 0.6180339887 % 1
    rank = turn.groupby(cell).rank(method="first")
    return np.sort(np.lexsort((cell.to_numpy(), rank.to_numpy()))[:most])


def resolve(model: Any) -> tuple[Any, Any, str]:
    """(network, contract, pooling) of a module, a name, or a fitted estimator of brainof; else a ConfigError."""
    if isinstance(model, (str, PathLike)):
        network, contract = load(model)
        return network, contract, "auto"
    if hasattr(model, "adapted_"):
        part = model.adapted_.members()[0]
        return part.model, model.contract_, part.head.pool
    if not isinstance(model, BrainOF):
        fix = "give a BrainOF, a name that brainof.load takes, or a fitted brainof estimator"
        raise ConfigError(f"{type(model).__name__} cannot be explained", field="model", fix=fix)
    return model, getattr(model, "contract", None), "auto"


def untrained(model: BrainOF, seeds: int) -> list[BrainOF]:
    """Models of the same architecture with random weights."""
    return [initialised(model.config, seed).to(device_of(model)) for seed in range(seeds)]


def gather(
    source: Any,
    model: Any,
    *,
    y: Any = None,
    groups: Any = None,
    task: str | None = None,
    most: int = MOST,
    contract: Any = "auto",
    accept: Collection[str] = (),
    **reading: Any,
) -> list[Explained]:
    """Windows of a source, apart by dataset and modality; EEG first, then MEG and fMRI.

    Parameters
    ----------
    source : Corpus, several of `open_corpora`, or what `brainof.embed` takes
    model : BrainOF
        For its patch length and contract.
    y, groups : array-like, optional
        Labels and subjects of the samples of a source that is no corpus.
    task : str, optional
        Of a corpus: "dataset/task", or "none"; by default the first of each dataset, one that changes
        within subjects before others.
    most : int
        Windows of each dataset at most, spread over subjects and labels.
    contract, accept, **reading
        As in `brainof.embed`.

    Raises
    ------
    ConfigError, LabelError, ContractError, RecordingError
        The source does not fit.
    """
    if contract == "auto":
        contract = getattr(model, "contract", None)
    if isinstance(source, Windows):
        found = _of_corpus(source, patch_of(model), task)
    else:
        if task not in (None, "none"):
            fix = "leave it out, or give a corpus (in Python: labels as y=)"
            raise ConfigError("recordings have no tasks", field="task", fix=fix)
        options = InputOptions(contract, patch_of(model), accept=accept, **reading)
        found = _of_recordings(read_samples(as_input(source), options), y, groups)
    return sorted((each.first(most) for each in found), key=lambda each: MODALITIES.index(each.modality))  # type: ignore[arg-type]


def _of_recordings(samples: Any, y: Any, groups: Any) -> list[Explained]:
    examples, owner = samples.examples, samples.owner
    for name, value in (("y", y), ("groups", groups)):
        if value is not None and len(value) != samples.n_samples:
            raise LabelError(f"{len(value)} values for {samples.n_samples} samples", field=name)
    table = examples.describe()
    table["sample"] = owner
    codes = None if y is None else np.asarray(y)
    classes: tuple[str, ...] = ()
    if codes is not None and codes.dtype.kind == "f" and len(np.unique(codes)) > 10:
        codes = codes.astype(np.float64)  # floats with many values are a regression
    elif codes is not None:
        names, codes = np.unique(codes.astype(str), return_inverse=True)
        classes = tuple(names.tolist())
        if len(classes) < 2:
            raise LabelError(f"one class only, {names.tolist()}", field="y")
    named = samples.subjects if groups is None else np.asarray(groups).astype(str)
    found = []
    for modality in dict.fromkeys(window.modality for window in examples.windows):
        rows = np.flatnonzero([window.modality == modality for window in examples.windows])
        rows, notes = _common_layout(examples.kinds, rows)
        window = examples.windows[rows[0]]
        own = None if named is None else named[owner[rows]]
        files = table.iloc[rows].get("file")
        name = str(files.iloc[0]) if files is not None and files.nunique() == 1 else f"{len(set(owner[rows]))} samples"
        part = table.iloc[rows].reset_index(drop=True)
        whom, unit = _units(own, part["sample"].to_numpy())
        labels = None if codes is None else codes[owner[rows]]
        head = (Subset(examples, rows), window.channels, window.sfreq, modality, name.rsplit("/", 1)[-1], part)
        found.append(Explained(*head, whom, unit, labels, classes, "y" if codes is not None else "", notes))
    return found


def _of_corpus(corpus: Windows, patch: int, task: str | None) -> list[Explained]:
    known = {each.name: each for each in recipe_tasks(corpus) if each.kind != "identification"}
    if task not in (None, "none"):
        check_known(task, known, LabelError, "the corpus has no task {!r}", field="task")
    index = corpus.index
    asked = [] if task == "none" else list(known.values()) if task is None else [known[task]]
    chosen: dict[str, tuple[bool, Any]] = {}  # dataset -> whether labels change within subjects, and its task
    for each in asked:
        try:
            rows = task_rows(index, each)
            y, names = targets(index.iloc[rows], each)
        except LabelError:
            if task is not None:
                raise
            continue  # the corpus cannot answer it
        # a label that changes within subjects says more with few of them
        changes = not constant_within(y, group_keys(index.iloc[rows], "subject"))
        if changes > chosen.get(str(each.dataset), (-1, None))[0]:
            chosen[str(each.dataset)] = changes, (rows, patch, y, tuple(names), each.name)
    parts = [_part(corpus, *part) for _, part in chosen.values()]
    if task in (None, "none"):
        free = index[(index["view"].astype(str) == "pretrain") & ~index["dataset"].astype(str).isin(list(chosen))]
        for _, part in free.groupby(["dataset", "modality"], observed=True):
            parts.append(_part(corpus, index.index.get_indexer(part.index), patch, None, (), ""))
    if not parts:
        raise LabelError("the corpus holds no window to explain", field="source")
    return parts


def _part(corpus: Windows, rows: np.ndarray, patch: int, y: np.ndarray | None, classes: tuple, task: str) -> Explained:
    examples = CorpusRows(corpus, rows, patch)
    kept, notes = _common_layout(examples.kinds, np.arange(len(rows)))
    examples = CorpusRows(corpus, rows[kept], patch)
    line = examples.index.iloc[0]
    groups, unit = _units(group_keys(examples.index, "subject"), np.arange(len(kept)))
    head = (examples, corpus.channels(str(line["channel_set"])), float(line["sfreq"]), str(line["modality"]))
    table = examples.describe()
    table["dataset"] = table["dataset"].astype(str)
    own = None if y is None else y[kept]
    return Explained(*head, str(line["dataset"]), table, groups, unit, own, classes, task, notes)


def _common_layout(kinds: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows of the most frequent layout, and a note of how many are left out."""
    names, counts = np.unique(kinds[rows], return_counts=True)
    kept = rows[kinds[rows] == names[counts.argmax()]]
    if len(names) == 1:
        return kept, ()
    return kept, (f"Left out: {counted(len(rows) - len(kept), 'window')} of another length or set of channels",)


def _units(subjects: np.ndarray | None, samples: np.ndarray) -> tuple[np.ndarray, str]:
    if subjects is not None and len(np.unique(subjects)) > 1:
        return subjects, "subjects"
    single = samples if len(np.unique(samples)) > 1 else np.arange(len(samples))
    return single.astype(str), "windows"
