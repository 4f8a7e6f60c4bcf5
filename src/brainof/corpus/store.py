"""Corpus: windows read back from disk, every one of them checked; Corpora joins several."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..channels import Channels
from ..errors import CorpusError
from ..files import read_json
from .index import from_frame, in_order, to_frame
from .index_file import read_index
from .shards import INDEX_SUFFIX, SUFFIX, Shard
from .windows import Windows
from .writer import check_version

if TYPE_CHECKING:
    from .upkeep import Verification

logger = logging.getLogger(__name__)

#: Shards kept mapped at a time: each costs a file descriptor
OPEN_SHARDS = 256


class Corpus(Windows):
    """A corpus on disk, opened for reading.

    Parameters
    ----------
    root : path-like
        The folder that holds corpus.json.

    Raises
    ------
    CorpusError
        There is no corpus at `root`, or one of another version.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)
        check_version(self.root)
        self._notes: list[str] = []
        self._shards = lru_cache(OPEN_SHARDS)(self._open)
        self._channels: dict[str, Channels] = {}

    def __reduce__(self) -> tuple[type[Corpus], tuple[Path]]:
        return type(self), (self.root,)  # worker processes open the corpus themselves

    def __repr__(self) -> str:
        return f"<Corpus {self.root}>"

    @cached_property
    def index(self) -> pd.DataFrame:  # type: ignore[override]
        merged, covered = self.merged_index()
        return self.indexed([name for name in self.shard_names() if name not in covered], merged)

    def indexed(self, shards: Iterable[str], tables: Sequence[pa.Table] = ()) -> pd.DataFrame:
        """The index of some shards, and of index tables that were read already."""
        index, superseded = in_order(to_frame([*tables, *(self.shard_index(name) for name in shards)]))
        for recording in superseded:
            self._note(f"{recording} occurs more than once; its newest windows count")
        return index

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return {path.stem: read_json(path) for path in sorted((self.root / "datasets").glob("*.json"))}

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Recordings that could not be prepared, with the reason."""
        return [read_json(path) for path in sorted((self.root / "failures").glob("*.json"))]

    def channels(self, digest: str) -> Channels:
        if digest not in self._channels:
            path = self.root / "channels" / f"{digest}.json"
            values = read_json(path)
            try:
                table = Channels.from_dict(values)
            except (TypeError, KeyError, ValueError):
                raise CorpusError("is damaged (not a channel table)", file=path) from None
            if table.digest != digest:
                raise CorpusError("is damaged (its content does not match its name)", file=path)
            self._channels[digest] = table
        return self._channels[digest]

    def view(self, row: int) -> np.ndarray:
        shape = int(self._column("n_channels")[row]), int(self._column("n_times")[row])
        return self.shard(self._text("shard", row)).window(self._text("key", row), shape)

    def shard_path(self, row: int) -> Path:
        return self._path(self._text("shard", row))

    def read_ahead(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.shard(self._text("shard", row)).read_ahead(self._text("key", row))

    def shard_names(self) -> list[str]:
        """Names of all shards that have a file or an index."""
        found = [path.name for path in (self.root / "shards").glob("[!.]*")]
        return sorted(
            {name.removesuffix(end) for end in (SUFFIX, INDEX_SUFFIX) for name in found if name.endswith(end)}
        )

    def shard_index(self, name: str) -> pa.Table:
        """Index rows of one shard: from its index file or, where that is missing, from its header."""
        path = self.root / "shards" / f"{name}{INDEX_SUFFIX}"
        if path.exists():
            return read_index(path, f"delete it; it is rebuilt from {name}{SUFFIX}")[0]
        self._note(f"shard {name} has no index file; its rows were read from its header")
        return self.shard(name).table()

    def shard(self, name: str) -> Shard:
        """A shard, opened; the most recently used ones stay open."""
        return self._shards(name)

    def merged_index(self) -> tuple[list[pa.Table], set[str]]:
        """The merged index, where there is one, and the names of the shards it covers."""
        path = self.root / "index.parquet"
        if not path.exists():
            return [], set()
        table, covered = read_index(path, "delete it; `brainof corpus compact` makes it again")
        return [table], covered

    def verify(self) -> Verification:
        """Read every byte and compare it with its checksum; see `upkeep.verify`."""
        from .upkeep import verify

        return verify(self)

    def compact(self) -> dict[str, Any]:
        """Merge the shard indexes into one file; see `upkeep.compact`."""
        from .upkeep import compact

        return compact(self)

    def info(self) -> dict[str, Any]:
        """Disk, windows, hours and people per dataset, modality and view; see `upkeep.info`."""
        from .upkeep import info

        return info(self)

    def _path(self, shard: str) -> Path:
        return self.root / "shards" / f"{shard}{SUFFIX}"

    def _open(self, shard: str) -> Shard:
        return Shard(self._path(shard))

    def _note(self, note: str) -> None:
        if note not in self._notes:
            logger.warning("%s: %s", self.root, note)
            self._notes.append(note)


class Corpora(Windows):
    """Several corpora as one: rows are numbered through, in the order given."""

    def __init__(self, corpora: Sequence[str | PathLike[str] | Corpus]) -> None:
        self.corpora = [each if isinstance(each, Corpus) else Corpus(each) for each in corpora]
        if not self.corpora:
            raise CorpusError("no corpus was given")

    def __repr__(self) -> str:
        return f"<Corpora {', '.join(str(corpus.root) for corpus in self.corpora)}>"

    @cached_property
    def index(self) -> pd.DataFrame:  # type: ignore[override]
        return to_frame([from_frame(corpus.index) for corpus in self.corpora])

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:  # type: ignore[override]
        return {name: about for corpus in reversed(self.corpora) for name, about in corpus.datasets.items()}

    @property
    def notes(self) -> list[str]:
        return [note for corpus in self.corpora for note in corpus.notes]

    def channels(self, digest: str) -> Channels:
        for corpus in self.corpora:
            if (corpus.root / "channels" / f"{digest}.json").exists():
                return corpus.channels(digest)
        raise CorpusError(f"no corpus holds channel set {digest}", file=self.corpora[0].root / "channels")

    def view(self, row: int) -> np.ndarray:
        corpus, local = self._locate(row)
        return corpus.view(local)

    def shard_path(self, row: int) -> Path:
        corpus, local = self._locate(row)
        return corpus.shard_path(local)

    def read_ahead(self, rows: Iterable[int]) -> None:
        for row in rows:
            corpus, local = self._locate(row)
            corpus.read_ahead([local])

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
