"""Deleting by index: windows stay in their shards, and every reader leaves them out.

A deletion is a small file below `deleted/` that names recordings and the newest shard that existed when it was made, so
a recording that is prepared again later is in the corpus again. `merge` into a new folder leaves deleted bytes behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, CorpusError, did_you_mean
from ..files import make_folder, write_json
from .folder import Folder, read_object
from .index import people

if TYPE_CHECKING:
    from .store import Corpus

FOLDER = "deleted"
_IDENTITY = ("dataset", "modality", "recording")


@dataclass(frozen=True)
class Deletion:
    """Recordings (dataset, modality, recording) that are gone from the shards named."""

    name: str
    recordings: frozenset[tuple[str, str, str]]
    shards: frozenset[str]

    def applied(self, index: pd.DataFrame) -> pd.DataFrame:
        """The index without them."""
        concerned = index["shard"].isin(self.shards).to_numpy()
        rows = np.flatnonzero(concerned)
        if not len(rows):
            return index
        columns = [index[column].iloc[rows].astype(str) for column in _IDENTITY]
        gone = np.fromiter((key in self.recordings for key in zip(*columns, strict=True)), bool, len(rows))
        keep = np.ones(len(index), bool)
        keep[rows[gone]] = False
        return index[keep]


def read_deletions(folder: Folder) -> list[Deletion]:
    """All deletions of a corpus.

    Raises
    ------
    CorpusError
        A file is damaged: what it deleted must not come back unnoticed.
    """
    found = []
    for name in folder.names(FOLDER):
        if not name.endswith(".json"):
            continue
        values = read_object(folder, f"{FOLDER}/{name}")
        try:
            recordings = frozenset((str(a), str(b), str(c)) for a, b, c in values["recordings"])
            found.append(Deletion(name, recordings, frozenset(map(str, values["shards"]))))
        except (KeyError, TypeError, ValueError):
            raise CorpusError("is damaged (not a deletion)", file=folder.where(f"{FOLDER}/{name}")) from None
    return found


def delete(
    corpus: Corpus,
    *,
    recordings: Iterable[str] = (),
    subjects: Iterable[str] = (),
    datasets: Iterable[str] = (),
) -> dict[str, Any]:
    """Delete recordings by index and compact; the bytes stay until the corpus is merged into a new folder.

    Parameters
    ----------
    corpus : Corpus
        Opened again to see the result.
    recordings : iterable of str
        As `dataset/recording`.
    subjects : iterable of str
        People, as `dataset/subject`.
    datasets : iterable of str
        Names.

    Returns
    -------
    dict
        recordings and windows that are gone, windows that are left.

    Raises
    ------
    ConfigError
        Nothing was named.
    CorpusError
        A name is not in the corpus, or the corpus is remote.
    StorageError
        The corpus cannot be written.
    """
    root = corpus.root
    index = type(corpus)(root).index
    wanted = {"recording": list(recordings), "subject": list(subjects), "dataset": list(datasets)}
    if not any(wanted.values()):
        raise ConfigError("nothing to delete", field="delete", fix="name recordings, subjects or datasets")
    dataset = index["dataset"].astype(str)
    names = {
        "recording": dataset + "/" + index["recording"].astype(str),
        "subject": people(index).astype(str),
        "dataset": dataset,
    }
    gone = np.zeros(len(index), bool)
    for field, values in wanted.items():
        known = set(names[field].unique()) if values else set()
        for value in values:
            if value not in known:
                raise CorpusError(
                    f"{value!r} is not in the corpus", file=root, field=field, fix=did_you_mean(value, known)
                )
        gone |= names[field].isin(values).to_numpy()
    rows = index[gone]
    identities = sorted(set(zip(*(rows[column].astype(str) for column in _IDENTITY), strict=True)))
    # an earlier version of a deleted recording must not come back in its place, so every shard of today is named
    make_folder(root / FOLDER)
    name = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}-{uuid.uuid4().hex[:8]}.json"
    write_json(root / FOLDER / name, {"recordings": identities, "shards": corpus.shard_names()})
    done = type(corpus)(root).compact()
    return {"recordings": len(identities), "deleted": int(gone.sum()), "windows": done["windows"]}
