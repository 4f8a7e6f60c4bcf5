"""Paired windows of a corpus for whatever takes windows: embedding, probes, adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..corpus import Windows
from ..errors import ConfigError
from ..model import BrainOF
from ..model.fusion import FusedBrainOF, PairedBatch
from ..stats.splits import group_keys
from .batches import pooled
from .examples import kinds_and_costs


class PairedRows:
    """Rows of a table of pairs (`brainof.corpus.pairs`) as examples for a FusedBrainOF; indexing gives a part.

    The table has one column per modality, -1 where it is missing. Examples of one of the `kinds` have the same
    modalities, layouts, rates and lengths: they fit one batch. `subjects` are the `dataset/subject` of the first
    modality that is there.
    """

    def __init__(self, corpus: Windows, table: pd.DataFrame, patch: int = 64) -> None:
        rows_NM = table.to_numpy(np.int64)
        if not len(table) or (rows_NM < 0).all(axis=1).any():
            raise ConfigError("no pair, or one without any modality", field="table", fix="see brainof.corpus.pairs")
        self.corpus, self.table, self.patch = corpus, table.reset_index(drop=True), patch
        shape, cost = kinds_and_costs(corpus.index, patch)
        there_NM = rows_NM >= 0
        self.kinds = np.unique(np.where(there_NM, shape[rows_NM], -1), axis=0, return_inverse=True)[1].ravel()
        self.costs = np.where(there_NM, cost[rows_NM], 0).sum(axis=1)
        first = rows_NM[np.arange(len(rows_NM)), there_NM.argmax(axis=1)]
        self.subjects = group_keys(corpus.index, "subject")[first]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def shape(self) -> tuple[int]:
        return (len(self.table),)

    def __getitem__(self, items: Any) -> PairedRows:
        chosen = np.atleast_1d(np.arange(len(self))[items])
        return PairedRows(self.corpus, self.table.iloc[chosen], self.patch)

    def batch(self, rows: Sequence[int] | np.ndarray) -> PairedBatch:
        """Examples as one batch."""
        part = self.table.iloc[np.asarray(rows, np.int64)]
        batches, places = {}, {}
        for name in part.columns:
            numbers = part[name].to_numpy(np.int64)
            place = np.flatnonzero(numbers >= 0)
            if len(place):
                batches[str(name)] = self.corpus.batch(numbers[place].tolist(), patch=self.patch)
                places[str(name)] = torch.from_numpy(place)
        return PairedBatch(batches, places, len(part))

    def key(self, row: int) -> str:
        """A text that names the content of an example."""
        names = ("crc32c", "channel_set", "sfreq", "n_times", "good")
        values = [
            f"{name} {' '.join(str(self.corpus.index[column].iloc[number]) for column in names)}"
            for name, number in self.table.iloc[row].items()
            if number >= 0
        ]
        return f"{self.patch} {' | '.join(values)}"


def embed_pairs(
    rows: PairedRows,
    model: BrainOF,
    order: Sequence[str],
    *,
    pool: str = "auto",
    batch_size: int = 16,
) -> np.ndarray:
    """Pooled latents (n, F), float32, of pairs fused in the order given; modalities that it leaves out are missing.

    A ConfigError where a pair has none of the modalities in `order`.
    """
    rows = PairedRows(rows.corpus, rows.table.reindex(columns=list(order), fill_value=-1), rows.patch)
    return pooled(FusedBrainOF(model, order), rows, pool, batch_size).astype(np.float32)
