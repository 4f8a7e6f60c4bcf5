"""Tasks that are trained on one kind of signal and tested on another: dataset, channels, sampling rate, noise.

Both sides are written into a corpus of their own, so that everything behind it (features, read-outs, leak checks) sees
ordinary windows. Its labels `fold_side` and `fold_window` say which side a window is of, and which windows
are one; a recipe has labels called `side`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..channels import Channels
from ..corpus import Corpus, CorpusWriter, Windows
from ..corpus.index import LABEL
from ..errors import LabelError, check_known, did_you_mean
from ..model.resolution import resample
from ..prepare.windows import Window
from ..utils.files import read_json, write_json
from .protocol import task_rows
from .suite import Side, SuiteTask

TRAIN, TEST = "train", "test"
SIDE, WINDOW = f"{LABEL}fold_side", f"{LABEL}fold_window"
_ENTITIES = ("dataset", "modality", "subject", "session", "task", "run", "config")


def two_sides(
    task: SuiteTask, corpus: Windows, source: tuple[SuiteTask, Windows] | None, place: Path
) -> tuple[SuiteTask, Corpus]:
    """The task and a corpus with a training and a test side, kept at `place` while neither changes.

    `task` has `train_on`, `test_on` or both and is completed from its recipe; `source` is the task and data that
    `train_on` names, where that is another dataset. A LabelError where a channel is not in a recording, or the two
    datasets name other classes.
    """
    other, other_corpus = source or (task, corpus)
    rows, other_rows = task_rows(corpus.index, task), task_rows(other_corpus.index, other)
    if task.kind == "classification":
        _same_classes(task, corpus.index.iloc[rows], other, other_corpus.index.iloc[other_rows])
    sides = [
        (TRAIN, task.train_on or Side(), other, other_corpus, other_rows),
        (TEST, task.test_on or Side(), task, corpus, rows),
    ]
    marker, digest = place / "sides.json", _digest(sides)
    if not (marker.exists() and read_json(marker) == {"digest": digest}):
        shutil.rmtree(place, ignore_errors=True)
        with CorpusWriter(place) as writer:
            for name, side, asked, windows, chosen in sides:
                _write(writer, name, side, asked, task, windows, chosen)
                for dataset in windows.index["dataset"].iloc[chosen].astype(str).unique():
                    writer.add_dataset(dataset, windows.datasets[dataset])
        write_json(marker, {"digest": digest})
    return task.model_copy(update={"dataset": None, "modality": None}), Corpus(place)


def _write(
    writer: CorpusWriter, name: str, side: Side, asked: SuiteTask, task: SuiteTask, corpus: Windows, rows: np.ndarray
) -> None:
    """One side: each recording under its name and that of the side."""
    index = corpus.index.iloc[rows].assign(_row=rows, _number=np.arange(len(rows)))
    labels = [str(column) for column in index if str(column).startswith(LABEL)]
    for _, own in index.groupby(["dataset", "modality", "recording"], sort=False, observed=True):
        first = own.iloc[0]
        channels = corpus.channels(str(first["channel_set"]))
        picks = _picks(channels, side, f"{task.name}.{name}_on.channels")
        rate = float(first["sfreq"])
        windows = []
        for record in own.to_dict("records"):
            data = corpus.read(record["_row"])[picks].astype(np.float32)
            told = {column.removeprefix(LABEL): record[column] for column in labels if pd.notna(record[column])}
            told |= {task.label: record[asked.column]}
            told |= {SIDE.removeprefix(LABEL): name, WINDOW.removeprefix(LABEL): str(record["_number"])}
            windows.append(Window(changed(data, rate, side, record["_number"]), record["onset"], told, task.view))
        about = {key: first[key] for key in _ENTITIES if pd.notna(first[key])}
        about |= {"recording": f"{first['recording']} ({name})", "sfreq": side.sfreq or rate}
        good = np.frombuffer(str(first["good"]).encode(), np.uint8)[picks] == ord("1")
        writer.add(about, channels.take(picks), windows, good)


def changed(data: np.ndarray, sfreq: float, side: Side, seed: int) -> np.ndarray:
    """A window (C, T) with the noise and at the rate of a side, as strong as before.

    The noise is white and `side.snr` dB below each channel's variance in the window; the sum is scaled back to that
    variance, as normalising the recording would.
    """
    if side.snr is not None:
        noise = np.random.default_rng([2602, seed]).standard_normal(data.shape).astype(np.float32)
        power = 10 ** (-side.snr / 10)
        noise *= np.sqrt(power) * data.std(axis=1, keepdims=True)
        data = (data + noise) / np.float32(np.sqrt(1 + power))
    if side.sfreq is not None:
        data = resample(torch.from_numpy(data), sfreq, side.sfreq).numpy()
    return data


def _picks(channels: Channels, side: Side, field: str) -> np.ndarray:
    """Numbers of the channels of a side: those that it names, or so many, spread over the table."""
    if isinstance(side.channels, int):
        n = min(side.channels, len(channels))
        return np.arange(n) * len(channels) // n
    wanted = side.channels or channels.names
    for name in wanted:
        check_known(name, channels.names, LabelError, "no channel {!r}", field=field)
    return np.array([channels.names.index(name) for name in wanted])


def _same_classes(task: SuiteTask, index: pd.DataFrame, other: SuiteTask, other_index: pd.DataFrame) -> None:
    own, theirs = (set(i[t.column].astype(str)) for t, i in ((task, index), (other, other_index)))
    if unknown := sorted(own - theirs):
        text = f"{other.recipe} has no class {unknown[0]!r}"
        raise LabelError(text, field=f"{task.name}.train_on", fix=did_you_mean(unknown[0], theirs))


def _digest(sides: list) -> str:
    """Of everything that the two sides are made of."""
    state = hashlib.sha256()
    for name, side, asked, corpus, rows in sides:
        state.update(json.dumps([SIDE, name, side.to_dict(), asked.to_dict()], sort_keys=True).encode())
        for column in ("recording", "onset", "crc32c", asked.column):
            state.update("\n".join(corpus.index[column].iloc[rows].astype(str)).encode())
    return state.hexdigest()[:24]
