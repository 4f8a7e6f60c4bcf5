"""Corpus: windows read back from disk, every one of them checked; `open_corpora`: several read as one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..channels import Channels
from ..errors import CorpusError
from ..utils.values import counted
from .folder import Folder, RemoteFolder
from .index import IndexFile, in_order, to_frame
from .maintenance import Deletion, compact, corpus_info, delete, verify
from .shards import INDEX_SUFFIX, SUFFIX, Shard, damaged_window
from .windows import Windows

logger = logging.getLogger(__name__)

#: Shards kept mapped at a time: each costs a file descriptor
OPEN_SHARDS = 256

#: More notes of one kind than this are counted, not listed
MANY = 3


class Corpus(Windows):
    """A corpus on disk or behind a URL, opened for reading.

    The columns of a compacted index are read when they are asked for, so that millions of windows open at once.

    Parameters
    ----------
    root : path-like
        The folder that holds corpus.json, or a fsspec URL of it (s3://, gs://, https://, ...), whose shards are
        fetched whole into a local cache.
    storage_options : mapping, optional
        For the file system of a URL; see `folder.RemoteFolder`.

    Raises
    ------
    CorpusError
        There is no corpus at `root`, or one of another version.
    StorageError
        The URL cannot be reached.
    """

    def __init__(self, root: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(remote=isinstance(root, str) and "://" in root)
        self._storage_options = storage_options
        self.folder = RemoteFolder(str(root), self._forget, storage_options) if self.remote else Folder(root)
        self.version = self.folder.version()
        #: Sentences a user should read: what was odd when the index was read
        self.notes: list[str] = []
        self._shards: dict[str, Shard] = {}
        self._lock = threading.Lock()
        self._channels: dict[str, Channels] = {}
        self._series: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # worker processes open the corpus themselves
        return partial(type(self), storage_options=self._storage_options), (str(self.folder),)

    def reopened(self) -> Corpus:
        """The corpus as it is now."""
        return type(self)(str(self.folder), storage_options=self._storage_options)

    info, verify, compact, delete = corpus_info, verify, compact, delete

    def __repr__(self) -> str:
        return f"<Corpus {self.folder}>"

    def __len__(self) -> int:
        return len(self.index) if self._final is None else len(self._final)

    @property
    def root(self) -> Path:
        """The folder; a CorpusError where the corpus lies behind a URL, where nothing is written."""
        if self.remote:
            raise CorpusError("is read-only", file=str(self.folder), fix="`brainof corpus merge` makes a local copy")
        return self.folder.root

    @cached_property
    def index(self) -> pd.DataFrame:
        if self._final is not None:
            return self.columns(self._final.columns)
        merged = self.merged_index()
        tables, covered = ([], set()) if merged is None else ([merged.read()], merged.shards)
        return self.indexed([name for name in self.shard_names() if name not in covered], tables)

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        if self._final is None:
            return self.index[list(names)]
        for name in names:  # one after the other, so that no two are held in the form of the file
            if name in self._series:
                continue
            if name not in self._final.columns:
                raise KeyError(name)
            self._series[name] = pd.Series(self._final.column(name), name=name, copy=False)
            pa.default_memory_pool().release_unused()
        return pd.DataFrame({name: self._series[name] for name in names}, copy=False)

    @property
    def column_names(self) -> list[str]:
        """Columns of the index."""
        return [str(name) for name in self.index] if self._final is None else list(self._final.columns)

    @cached_property
    def _final(self) -> IndexFile | None:
        """The merged index where it is all there is to know: every shard is in it, and every deletion."""
        merged = self.merged_index()
        if merged is None or not merged.ordered or not set(self.shard_names()) <= merged.shards:
            return None
        return merged if {deletion.name for deletion in self.deletions} <= merged.deleted else None

    @cached_property
    def deletions(self) -> list[Deletion]:
        """What was deleted by index; a damaged file is a CorpusError: what it deleted must not come back unnoticed."""
        return [Deletion.read(self.folder, path) for path in self.folder.objects("deleted")]

    def indexed(self, shards: Iterable[str], tables: Sequence[pa.Table] = ()) -> pd.DataFrame:
        """The index of some shards, and of index tables that were read already, without what was deleted."""
        index = to_frame([*tables, *(self.shard_index(name) for name in shards)])
        for deletion in self.deletions:
            index = deletion.applied(index)
        index, superseded = in_order(index)
        if len(superseded) > MANY:
            self._note(f"{counted(len(superseded), 'recording', 'occur')} more than once; their newest windows count")
        for recording in superseded if len(superseded) <= MANY else ():
            self._note(f"{recording} occurs more than once; its newest windows count")
        return index

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:
        names = self.folder.objects("datasets")
        if not names and self.remote and len(self):  # a server that lists nothing; the index names them
            names = [f"datasets/{name}.json" for name in self.columns(["dataset"])["dataset"].cat.categories]
        return {Path(name).name.removesuffix(".json"): self.folder.read_object(name) for name in names}

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Recordings that could not be prepared, with the reason."""
        return [self.folder.read_object(name) for name in self.folder.objects("failures")]

    @property
    def quality(self) -> list[dict[str, Any]]:
        """What was found in each recording and done to it, where its writer noted that (see `prepare.quality`)."""
        return [self.folder.read_object(name) for name in self.folder.objects("quality")]

    def channels(self, digest: str) -> Channels:
        if digest not in self._channels:
            name = f"channels/{digest}.json"
            try:
                table = Channels.from_dict(self.folder.read_object(name))
            except (TypeError, KeyError, ValueError):
                raise CorpusError("is damaged (not a channel table)", file=self.folder.where(name)) from None
            if table.digest != digest:
                raise CorpusError("is damaged (its content does not match its name)", file=self.folder.where(name))
            self._channels[digest] = table
        return self._channels[digest]

    def view(self, row: int) -> np.ndarray:
        shape = int(self._column("n_channels")[row]), int(self._column("n_times")[row])
        return self.shard(self._text("shard", row)).window(self._text("key", row), shape)

    def damaged(self, row: int) -> CorpusError:
        name = f"shards/{self._text('shard', row)}{SUFFIX}"
        self.folder.discard(name)
        return damaged_window(self.folder.where(name), self._text("key", row), self._text("recording", row))

    def read_ahead(self, rows: Iterable[int]) -> None:
        if self.remote:
            self.folder.fetch_ahead(f"shards/{self._text('shard', row)}{SUFFIX}" for row in rows)

    def shard_names(self) -> list[str]:
        """Names of all shards that have a file or an index."""
        found = self.folder.names("shards")
        ends = (SUFFIX, INDEX_SUFFIX)
        return sorted({name.removesuffix(end) for end in ends for name in found if name.endswith(end)})

    def shard_index(self, name: str) -> pa.Table:
        """Index rows of one shard: from its index file or, where that is missing, from its header."""
        if f"{name}{INDEX_SUFFIX}" in self._files:
            file = self.folder.path(f"shards/{name}{INDEX_SUFFIX}")
            return IndexFile(file, f"delete it; it is rebuilt from {name}{SUFFIX}").read()
        self._note(f"shard {name} has no index file; its rows were read from its header")
        return self.shard(name).table()

    @cached_property
    def _files(self) -> set[str]:
        return set(self.folder.names("shards"))

    def shard(self, name: str) -> Shard:
        """A shard, opened; it stays open until many others were opened after it."""
        shard = self._shards.get(name)
        if shard is None:
            file = f"shards/{name}{SUFFIX}"
            try:
                shard = Shard(self.folder.path(file), self.folder.where(file))
            except CorpusError:
                if not self.remote:
                    raise
                # the cached copy was dropped by another process between finding and opening it, or it is damaged
                self.folder.discard(file)
                shard = Shard(self.folder.path(file), self.folder.where(file))
            with self._lock:
                while len(self._shards) >= OPEN_SHARDS:
                    self._shards.pop(next(iter(self._shards)))
                self._shards[name] = shard
        return shard

    def merged_index(self) -> IndexFile | None:
        """The merged index, where there is one."""
        try:
            path = self.folder.path("index.parquet")
        except CorpusError:  # a remote corpus that was not compacted
            return None
        return IndexFile(path, "delete it; `brainof corpus compact` makes it again") if path.exists() else None

    def _forget(self, name: str) -> None:
        with self._lock:
            self._shards.pop(Path(name).name.removesuffix(SUFFIX), None)

    def _note(self, note: str) -> None:
        if note not in self.notes:
            logger.warning("%s: %s", self.folder, note)
            self.notes.append(note)


def open_corpora(paths: str | PathLike[str] | Sequence[str | PathLike[str]]) -> Windows:
    """One corpus, or several read as one: rows are numbered through, in the order given; a CorpusError for none."""
    corpora = [Corpus(path) for path in ([paths] if isinstance(paths, (str, PathLike)) else paths)]
    if not corpora:
        raise CorpusError("no corpus was given")
    return corpora[0] if len(corpora) == 1 else Windows(corpora, any(corpus.remote for corpus in corpora))
