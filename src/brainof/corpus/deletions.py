"""Deleting by index: windows stay in their shards, and every reader leaves them out.

A deletion is a small file below `deleted/` that names recordings and the newest shard that existed when it was made, so
a recording that is prepared again later is in the corpus again. `merge` into a new folder leaves deleted bytes behind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import CorpusError
from .folder import Folder, object_names, read_object

FOLDER = "deleted"
IDENTITY = ("dataset", "modality", "recording")


@dataclass(frozen=True)
class Deletion:
    """Recordings that are gone from the shards named, and whose they were."""

    name: str
    recordings: frozenset[tuple[str, str, str]]  # (dataset, modality, recording)
    shards: frozenset[str]
    subjects: frozenset[str]  # As dataset/subject; empty in a file of version 1

    def applied(self, index: pd.DataFrame) -> pd.DataFrame:
        """The index without them."""
        concerned = index["shard"].isin(self.shards).to_numpy()
        rows = np.flatnonzero(concerned)
        if not len(rows):
            return index
        columns = [index[column].iloc[rows].astype(str) for column in IDENTITY]
        gone = np.fromiter((key in self.recordings for key in zip(*columns, strict=True)), bool, len(rows))
        keep = np.ones(len(index), bool)
        keep[rows[gone]] = False
        return index[keep]


def read_deletions(folder: Folder) -> list[Deletion]:
    """All deletions of a corpus; a damaged file is a CorpusError: what it deleted must not come back unnoticed."""
    found = []
    for path in object_names(folder, FOLDER):
        values = read_object(folder, path)
        try:
            recordings = frozenset((str(a), str(b), str(c)) for a, b, c in values["recordings"])
            shards, subjects = (frozenset(map(str, values.get(key, ()))) for key in ("shards", "subjects"))
        except (KeyError, TypeError, ValueError):
            raise CorpusError("is damaged (not a deletion)", file=folder.where(path)) from None
        found.append(Deletion(path.removeprefix(f"{FOLDER}/"), recordings, shards, subjects))
    return found
