"""Corpora: several corpora read as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from ..channels import Channels
from ..errors import CorpusError
from .index import COLUMNS, from_frame, to_frame
from .store import Corpus
from .windows import Windows


class Corpora(Windows):
    """Several corpora as one: rows are numbered through, in the order given."""

    def __init__(self, corpora: Sequence[str | PathLike[str] | Corpus]) -> None:
        super().__init__()
        self.corpora = [each if isinstance(each, Corpus) else Corpus(each) for each in corpora]
        if not self.corpora:
            raise CorpusError("no corpus was given")
        self.remote = any(corpus.remote for corpus in self.corpora)

    def __repr__(self) -> str:
        return f"<Corpora {', '.join(str(corpus.folder) for corpus in self.corpora)}>"

    @cached_property
    def index(self) -> pd.DataFrame:  # type: ignore[override]
        names = dict.fromkeys(name for corpus in self.corpora for name in corpus.column_names)
        return self.columns([*COLUMNS, *(name for name in names if name not in COLUMNS)])

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        frames = (corpus.columns([name for name in names if name in corpus.column_names]) for corpus in self.corpora)
        return to_frame([from_frame(frame) for frame in frames], names)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return {name: about for corpus in reversed(self.corpora) for name, about in corpus.datasets.items()}

    @property
    def notes(self) -> list[str]:
        """Those of all corpora."""
        return [note for corpus in self.corpora for note in corpus.notes]

    def channels(self, digest: str) -> Channels:
        for corpus in self.corpora:
            with suppress(FileNotFoundError):
                corpus.folder.read(f"channels/{digest}.json")
                return corpus.channels(digest)
        raise CorpusError(f"no corpus holds channel set {digest}", file=self.corpora[0].folder.where("channels"))

    def view(self, row: int) -> np.ndarray:
        corpus, local = self._locate(row)
        return corpus.view(local)

    def damaged(self, row: int) -> CorpusError:
        corpus, local = self._locate(row)
        return corpus.damaged(local)

    def read_ahead(self, rows: Iterable[int]) -> None:
        numbers = np.asarray(list(rows), np.int64)
        which = np.searchsorted(self._starts, numbers, side="right") - 1
        for number in np.unique(which).tolist():
            self.corpora[number].read_ahead((numbers[which == number] - self._starts[number]).tolist())

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([len(corpus) for corpus in self.corpora])])

    def _locate(self, row: int) -> tuple[Corpus, int]:
        which = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.corpora[which], int(row - self._starts[which])


def open_corpora(paths: str | PathLike[str] | Sequence[str | PathLike[str]]) -> Corpus | Corpora:
    """Open one corpus, or several as one."""
    if isinstance(paths, (str, PathLike)):
        return Corpus(paths)
    return Corpus(paths[0]) if len(paths) == 1 else Corpora(paths)
