"""What an adaptation learns from: numbered windows, batched with windows of their own kind, and their targets."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..channels import Channels
from ..contract import InputContract
from ..errors import ConfigError, ContractError, LabelError
from ..inference.embedding import MAX_TOKENS
from ..recording import Recording
from ..signals import SignalBatch
from ..stats.splits import group_keys

if TYPE_CHECKING:
    from ..corpus import Windows


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
    """One prepared window, (n_channels, n_times), with what the model must know of it."""

    data: np.ndarray
    channels: Channels
    sfreq: float
    modality: str
    good: np.ndarray


class WindowList:
    """Prepared windows in memory."""

    def __init__(self, windows: Sequence[PreparedWindow], patch: int) -> None:
        self.windows, self.patch = list(windows), patch
        tables: dict[int, str] = {}
        codes: dict[tuple, int] = {}
        kinds, costs, self._digests = [], [], []
        for window in self.windows:
            digest = tables.setdefault(id(window.channels), window.channels.digest)
            patches = -(-window.data.shape[1] // patch)
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
        data = [window.data for window in chosen]
        return SignalBatch.from_arrays(data, first.channels, first.sfreq, first.modality, self.patch, good)

    def key(self, row: int) -> str:
        window = self.windows[row]
        about = f"{self._digests[row]} {window.sfreq!r} {window.modality} {self.patch} {window.data.shape}"
        data = np.ascontiguousarray(window.data, np.float32).tobytes() + window.good.tobytes()
        return hashlib.blake2b(about.encode() + data, digest_size=16).hexdigest()


class CorpusRows:
    """Windows of a corpus by row number; indexing gives a part, so that scikit-learn can split it.

    Parameters
    ----------
    corpus : Corpus or Corpora
    rows : sequence of int, optional
        Row numbers in `corpus.index`; all by default.
    patch : int
        Samples per patch of the model.

    Attributes
    ----------
    subjects : ndarray of str, shape (n,)
        `dataset/subject` of each window.
    """

    def __init__(self, corpus: Windows, rows: Sequence[int] | np.ndarray | None = None, patch: int = 64) -> None:
        self.corpus, self.patch = corpus, patch
        self.rows = np.arange(len(corpus.index)) if rows is None else np.asarray(rows, np.int64)
        if not len(self.rows):
            raise ConfigError("no windows", field="rows")
        self.index = corpus.index.iloc[self.rows]
        patches = -(-self.index["n_times"].to_numpy(np.int64) // patch)
        frame = self.index.assign(_patches=patches)
        columns = ["modality", "channel_set", "sfreq", "_patches"]
        self.kinds = frame.groupby(columns, sort=True, observed=True).ngroup().to_numpy(np.int64)
        self.costs = self.index["n_channels"].to_numpy(np.int64) * patches

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

    def labels(self, name: str) -> np.ndarray:
        """A label of each window, as text.

        Raises
        ------
        LabelError
            The corpus has no such label, or a window lacks it.
        """
        column = f"label.{name}"
        if column not in self.index:
            known = [str(c)[6:] for c in self.index if str(c).startswith("label.")]
            raise LabelError(f"the corpus has no label {name!r}", field="labels", fix=f"known: {', '.join(known)}")
        values = self.index[column].astype("string").fillna("").to_numpy(dtype=str)
        if (values == "").any():
            raise LabelError(f"{(values == '').sum()} of {len(values)} windows have no {name}", field="labels")
        return values

    def check(self, contract: InputContract, accept: Collection[str] = ()) -> None:
        """Compare how the windows were prepared with how the training data of a model were.

        Raises
        ------
        ContractError
            Names the dataset and what differs first.
        """
        first = self.index.drop_duplicates(["dataset", "modality", "channel_set", "sfreq"])
        for line in first.to_dict("records"):
            name, modality, rate = str(line["dataset"]), str(line["modality"]), float(line["sfreq"])
            if modality not in contract.modalities:
                known = f"it accepts {', '.join(sorted(contract.modalities))}"
                raise ContractError(f"the model was not trained on {modality}", file=name, field="modality", fix=known)
            part = contract.modalities[modality]
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


def batches(
    examples: Examples, rows: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[np.ndarray]:
    """Rows in batches of one kind and bounded cost; in random order with `rng`, in row order without."""
    found = []
    for kind in np.unique(examples.kinds[rows]):
        own = rows[examples.kinds[rows] == kind]
        if rng is not None:
            own = rng.permutation(own)
        size = max(1, min(batch_size, MAX_TOKENS // max(1, int(examples.costs[own[0]]))))
        found += [own[start : start + size] for start in range(0, len(own), size)]
    order = range(len(found)) if rng is None else rng.permutation(len(found))
    for number in order:
        yield found[int(number)]


@dataclass(frozen=True, eq=False)
class Target:
    """What examples should map to.

    Attributes
    ----------
    kind : {"classification", "regression"}
    y : ndarray
        Class codes (n,) from 0, or values (n, K).
    n_outputs : int
        Classes, or K.
    groups : ndarray of str (n,), optional
        Person (or session) of each example: never on both sides of a validation split.
    names : ndarray, optional
        Class of each code.
    """

    kind: str
    y: np.ndarray
    n_outputs: int
    groups: np.ndarray | None = None
    names: np.ndarray | None = None

    @classmethod
    def classes(cls, labels: Any, groups: Any = None) -> Target:
        """Codes of labels, in the order of the sorted class names.

        Raises
        ------
        LabelError
            One class only, or lengths that differ.
        """
        names, codes = np.unique(np.asarray(labels), return_inverse=True)
        if len(names) < 2:
            raise LabelError(f"one class only, {names.tolist()}", field="y", fix="give labels of at least two classes")
        return cls("classification", codes.astype(np.int64), len(names), _groups(groups, len(codes)), names)

    @classmethod
    def values(cls, y: Any, groups: Any = None) -> Target:
        """Values of a regression, (n,) or (n, K).

        Raises
        ------
        LabelError
            A value is NaN or infinite.
        """
        values = np.asarray(y, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            text = f"{int(wrong.sum())} of {len(values)} targets are NaN or infinite, the first at {first}"
            raise LabelError(text, field="y", fix="leave those samples out")
        return cls("regression", values, values.shape[1], _groups(groups, len(values)))

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> Target:
        """The targets of some examples."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, y=self.y[rows], groups=groups)


def _groups(groups: Any, n: int) -> np.ndarray | None:
    if groups is None:
        return None
    names = np.asarray(groups).astype(str)
    if len(names) != n:
        raise LabelError(f"{len(names)} groups for {n} examples", field="groups")
    return names
