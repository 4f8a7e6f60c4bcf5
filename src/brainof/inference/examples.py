"""Numbered windows that batches are made of: in memory, of a corpus, or some of others."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..channels import Channels
from ..contract import InputContract, check_accept, part_of
from ..corpus import Windows
from ..corpus.index import LABEL
from ..errors import ConfigError, ContractError
from ..recording import Recording
from ..signals import SignalBatch
from ..stats.splits import group_keys
from ..utils.memory import in_memory
from ..utils.values import ceil_div

#: Columns of the index that describe a window, beside its time and labels
DESCRIBED = ("dataset", "modality", "subject", "session", "task", "run", "recording", "view")


class Examples(Protocol):
    """Windows, or anything else a module's `forward_features` takes, in batches.

    `kinds` (n,) numbers the shape of each example: only examples of one kind share a batch. `costs` (n,) is the number
    of tokens of each, which bounds the batch. `key(row)` is a text that names the content of an example.
    """

    kinds: np.ndarray
    costs: np.ndarray

    def __len__(self) -> int: ...

    def batch(self, rows: Sequence[int] | np.ndarray) -> Any: ...

    def key(self, row: int) -> str: ...


@dataclass(frozen=True, eq=False)
class PreparedWindow:
    """One prepared window, (n_channels, n_times), with what the model must know of it, and `about` it for a table."""

    data: np.ndarray
    channels: Channels
    sfreq: float
    modality: str
    good: np.ndarray
    about: dict[str, Any] = field(default_factory=dict)


class WindowList:
    """Prepared windows in memory."""

    def __init__(self, windows: Sequence[PreparedWindow], patch: int) -> None:
        self.windows, self.patch = list(windows), patch
        tables: dict[int, str] = {}
        codes: dict[tuple, int] = {}
        kinds, costs, self._digests = [], [], []
        for window in self.windows:
            digest = tables.setdefault(id(window.channels), window.channels.digest)
            patches = ceil_div(window.data.shape[1], patch)
            kinds.append(codes.setdefault((digest, window.sfreq, window.modality, patches), len(codes)))
            costs.append(len(window.data) * patches)
            self._digests.append(digest)
        self.kinds, self.costs = np.array(kinds, np.int64), np.array(costs, np.int64)

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, rows: Sequence[int] | np.ndarray) -> SignalBatch:
        chosen = [self.windows[int(row)] for row in rows]
        first = chosen[0]
        good = np.stack([window.good for window in chosen])
        data = in_memory([window.data for window in chosen])
        return SignalBatch.from_arrays(data, first.channels, first.sfreq, first.modality, self.patch, good)

    def describe(self) -> pd.DataFrame:
        """One row per window: onset, duration, and what is known of its recording."""
        return pd.DataFrame([window.about for window in self.windows])

    def key(self, row: int) -> str:
        window = self.windows[row]
        about = f"{self._digests[row]} {window.sfreq!r} {window.modality} {self.patch} {window.data.shape}"
        data = np.ascontiguousarray(window.data, np.float32).tobytes() + window.good.tobytes()
        return hashlib.blake2b(about.encode() + data, digest_size=16).hexdigest()


class CorpusRows:
    """Windows of a corpus (or several) by row number, all by default; scikit-learn can split it by indexing.

    `patch` is that of the model in samples; `subjects` (n,) are named `dataset/subject`.
    """

    def __init__(self, corpus: Windows, rows: Sequence[int] | np.ndarray | None = None, patch: int = 64) -> None:
        self.corpus, self.patch = corpus, patch
        self.rows = np.arange(len(corpus.index)) if rows is None else np.asarray(rows, np.int64)
        if not len(self.rows):
            raise ConfigError("no windows to embed or fit", field="rows")
        self.index = corpus.index.iloc[self.rows]
        self.kinds, self.costs = kinds_and_costs(self.index, patch)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int]:
        return (len(self.rows),)

    def __getitem__(self, items: Any) -> CorpusRows:
        return CorpusRows(self.corpus, np.atleast_1d(self.rows[items]), self.patch)

    @property
    def subjects(self) -> np.ndarray:
        return group_keys(self.index, "subject")

    def describe(self) -> pd.DataFrame:
        """One row per window: onset, duration, and what the index knows of its recording and labels."""
        index = self.index
        table = pd.DataFrame({"onset": index["onset"], "duration": index["n_times"] / index["sfreq"]})
        for name in (*(name for name in DESCRIBED if name in index), *(c for c in index if str(c).startswith(LABEL))):
            table[name] = index[name].astype("string").to_numpy(dtype=object)
        return table.reset_index(drop=True)

    def check(self, contract: InputContract, accept: Collection[str] = ()) -> None:
        """Compare how the windows were prepared with a model's training data; a ContractError names what differs."""
        check_accept(accept)
        first = self.index.drop_duplicates(["dataset", "modality", "channel_set", "sfreq"])
        for line in first.to_dict("records"):
            name, modality, rate = str(line["dataset"]), str(line["modality"]), float(line["sfreq"])
            part = part_of(contract, modality, name)
            steps = self.corpus.datasets.get(name, {}).get("steps", part.steps)
            if steps != part.steps:
                ours, theirs = next(((a, b) for a, b in zip_longest(steps, part.steps) if a != b), (None, None))
                text = f"was prepared otherwise: {ours} instead of {theirs}"
                raise ContractError(text, file=name, field="prepare", fix="prepare it like the training data")
            channels = self.corpus.channels(str(line["channel_set"]))
            stub = np.zeros((len(channels), max(2, round(part.window_seconds[0] * rate))), np.float32)
            part.check(Recording(stub, rate, modality, channels, provenance={"file": name}), accept)

    def batch(self, rows: Sequence[int] | np.ndarray) -> SignalBatch:
        return self.corpus.batch(self.rows[np.asarray(rows, np.int64)].tolist(), self.patch)

    def key(self, row: int) -> str:
        line = self.index.iloc[row]
        about = f"{line['channel_set']} {line['sfreq']!r} {line['modality']} {self.patch} {line.get('good')}"
        data = np.ascontiguousarray(self.corpus.read(int(self.rows[row]))).tobytes()
        return hashlib.blake2b(about.encode() + data, digest_size=16).hexdigest()


def kinds_and_costs(index: pd.DataFrame, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """`kinds` and `costs` (see `Examples`) of the windows of an index."""
    patches = ceil_div(index["n_times"].to_numpy(np.int64), patch)
    columns = ["modality", "channel_set", "sfreq", "_patches"]
    kinds = index.assign(_patches=patches).groupby(columns, observed=True).ngroup().to_numpy(np.int64)
    return kinds, index["n_channels"].to_numpy(np.int64) * patches


class Subset:
    """Some examples of others, possibly repeated."""

    def __init__(self, examples: Examples, rows: np.ndarray) -> None:
        self.examples, self.rows = examples, np.asarray(rows, np.int64)
        self.kinds, self.costs = examples.kinds[self.rows], examples.costs[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Sequence[int] | np.ndarray) -> Any:
        return self.examples.batch(self.rows[np.asarray(rows, np.int64)])

    def key(self, row: int) -> str:
        return self.examples.key(int(self.rows[row]))
