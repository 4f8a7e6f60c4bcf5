"""Where the files of a corpus lie: a local folder, or a fsspec URL whose shards are kept in a bounded local cache.

fsspec fetches; its own file caches (`filecache`, `simplecache`) are not used, because they write under the final name,
where another process that shares the cache maps half a file, check no content and know no bound in bytes.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError, CorpusError, StorageError
from ..paths import user_path
from ..utils.files import TEMPORARY, make_folder, read_json, storage_error
from .index import FORMAT, VERSIONS
from .shards import SUFFIX, Shard

logger = logging.getLogger(__name__)

#: Variables that say where shards are kept, and how many bytes of them
CACHE, CACHE_BYTES = "BRAINOF_CACHE", "BRAINOF_CACHE_BYTES"
DEFAULT_CACHE_BYTES = 32 * 2**30

#: Attempts before a connection counts as lost, and seconds before the second of them (each later wait is twice as long)
ATTEMPTS, FIRST_WAIT = 5, 0.5
FETCHERS = 4

_FULL = (errno.ENOSPC, errno.EDQUOT)
_Result = TypeVar("_Result")


class Folder:
    """The files of a corpus on the local disk, by their name below its root."""

    remote = False

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = user_path(root, CorpusError)

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        """A small file; FileNotFoundError where there is none."""
        return self.path(name).read_bytes()

    def path(self, name: str) -> Path:
        """A file on the local disk, fetched first where it must be; it may not exist."""
        return self.root / name

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; none where the folder is missing or cannot be listed."""
        return sorted(path.name for path in (self.root / folder).glob("[!.]*"))

    def where(self, name: str) -> str | Path:
        """How messages name a file."""
        return self.root / name

    def fetch_ahead(self, names: Iterable[str]) -> None:
        """Hear of files that will be asked for soon; returns at once."""

    def discard(self, name: str) -> None:
        """Forget a fetched copy that turned out to be damaged."""

    def objects(self, kind: str) -> list[str]:
        """The JSON files of one of the folders, by their name below the root."""
        return [f"{kind}/{name}" for name in self.names(kind) if name.endswith(".json")]

    def read_object(self, name: str) -> dict[str, Any]:
        """A JSON object, read as `utils.files.read_json` does."""
        return read_json(self.where(name), lambda: self.read(name))

    def version(self) -> int:
        """The version of the corpus; a CorpusError where there is none, or one of another version."""
        if not self.remote and not self.root.is_dir():
            raise CorpusError("no such corpus", file=self.root)
        try:
            self.read("corpus.json")
        except FileNotFoundError:
            raise CorpusError("is not a corpus (it holds no corpus.json)", file=str(self)) from None
        except OSError:
            pass  # named below
        values, where = self.read_object("corpus.json"), self.where("corpus.json")
        if values.get("format") != FORMAT:
            raise CorpusError(f"{values.get('format')!r} is not {FORMAT!r}", file=where, field="format")
        if values.get("version") not in VERSIONS:
            known = " and ".join(map(str, VERSIONS))
            problem = f"corpus of version {values.get('version')}, this brainof reads version {known}"
            fix = "use the brainof that wrote it, or prepare it again"
            raise CorpusError(problem, file=where, field="version", fix=fix)
        return int(values["version"])


class RemoteFolder(Folder):
    """A corpus at a fsspec URL, read-only.

    `dropped` is called with the name of each shard that leaves the cache; `storage_options` are for the file system
    (fsspec's own environment variables and config files count too). The cache ($BRAINOF_CACHE or ~/.cache/brainof),
    which processes may share, keeps at most $BRAINOF_CACHE_BYTES (32 GiB) of shards; the least recently used go first.

    Raises CorpusError: the protocol is unknown or its package is not installed.
    """

    remote = True

    def __init__(
        self,
        url: str,
        dropped: Callable[[str], None] = lambda name: None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        import fsspec

        self.url, self._dropped = url.rstrip("/"), dropped
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url, **(storage_options or {}))
        except (ImportError, ValueError) as error:
            fix = "S3 needs `pip install 'brainof[remote]'`, GCS `pip install gcsfs`"
            raise CorpusError(f"cannot be reached ({error})", file=url, fix=fix) from None
        base = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "brainof")
        self.cache = base / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        text = os.environ.get(CACHE_BYTES)
        try:
            self.cache_bytes = int(float(text or 0)) or DEFAULT_CACHE_BYTES
        except ValueError:
            raise ConfigError(f"{text!r} is not a number of bytes", field=CACHE_BYTES) from None
        self._lock = threading.RLock()
        self._fetching: dict[str, Future[Path]] = {}
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="brainof-fetch")

    def __str__(self) -> str:
        return self.url

    def where(self, name: str) -> str:
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes:
        return self._retry(name, lambda: self._files.cat_file(f"{self._root}/{name}"), required=False)

    def names(self, folder: str) -> list[str]:
        try:
            found = self._retry(folder, lambda: self._files.ls(f"{self._root}/{folder}", detail=False), required=False)
        except (FileNotFoundError, NotImplementedError, StorageError):
            return []  # HTTP servers list what they like; the merged index names every shard
        names = {str(path).rstrip("/").rsplit("/", 1)[-1] for path in found} - {"", folder}
        return sorted(name for name in names if not name.startswith("."))

    def path(self, name: str) -> Path:
        """The local copy of a file, shards kept; CorpusError: missing or damaged, StorageError: offline, or no room."""
        if not name.endswith(SUFFIX):
            return self._fetch(name)
        return self._requested(name).result()

    def fetch_ahead(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in dict.fromkeys(names):
                # what is fetched too early would push out what is needed now
                if len(self._fetching) >= 2 * FETCHERS:
                    return
                self._requested(name)

    def discard(self, name: str) -> None:
        with self._lock:
            (self.cache / name).unlink(missing_ok=True)
            self._dropped(name)

    def _requested(self, name: str) -> Future[Path]:
        """The local copy of a shard, now or soon."""
        with self._lock:
            if name in self._fetching:
                return self._fetching[name]
            future: Future[Path] = Future()
            try:
                os.utime(self.cache / name)  # in use: this process and others that share the cache drop it last
                future.set_result(self.cache / name)
            except OSError:
                future = self._fetching[name] = self._pool.submit(self._fetch, name)
                future.add_done_callback(lambda _: self._fetching.pop(name, None))
            return future

    def _fetch(self, name: str) -> Path:
        local, source = self.cache / name, f"{self._root}/{name}"
        make_folder(local.parent)
        if name.endswith(SUFFIX):
            size = int(self._retry(name, lambda: self._files.info(source)).get("size") or 0)
            if size > self.cache_bytes:
                problem = f"shard of {size / 1e6:.1f} MB does not fit a cache of {self.cache_bytes / 1e6:.1f} MB"
                raise StorageError(problem, file=self.where(name), fix=f"give a larger cache ({CACHE_BYTES})")
            with self._lock:
                while sum(n for _, n, _ in self._cached()) + size > self.cache_bytes and self._evict_oldest(name):
                    pass
        self._retry(name, lambda: self._download(source, local, name))
        return local

    def _download(self, source: str, local: Path, name: str) -> None:
        """One attempt; the file appears whole and checked or not at all."""
        temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
        try:
            self._files.get_file(source, str(temporary))
            if name.endswith(SUFFIX):
                Shard(temporary, self.where(name)).check()
            os.replace(temporary, local)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _retry(self, name: str, action: Callable[[], _Result], required: bool = True) -> _Result:
        """Do what may fail because a connection is lost, several times."""
        attempt, where = 1, self.where(name)
        while True:
            try:
                return action()
            except FileNotFoundError:
                if not required:
                    raise
                word = "shard is missing" if name.endswith(SUFFIX) else "is missing"
                raise CorpusError(word, file=where) from None
            except PermissionError as error:
                raise StorageError(f"cannot be read ({error})", file=where, fix="check the credentials") from None
            except NotImplementedError:
                raise
            except Exception as error:  # every file system raises errors of its own when a connection ends
                if isinstance(error, OSError) and error.errno in _FULL:
                    # whatever else is cached can be fetched again, so it is what makes room
                    if self._evict_oldest(name):
                        continue
                    problem = storage_error(error, self.cache / name).problem
                    fix = f"free some space, or set {CACHE}"
                    raise StorageError(f"cannot be cached ({problem})", file=where, fix=fix) from None
                if attempt == ATTEMPTS:
                    if isinstance(error, CorpusError):
                        raise
                    why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                    problem = f"cannot be fetched after {ATTEMPTS} attempts ({why})"
                    fix = "check the connection and run the command again"
                    raise StorageError(problem, file=where, fix=fix) from None
                logger.info("%s: attempt %d failed (%s)", where, attempt, error)
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
                attempt += 1

    def _evict_oldest(self, but: str) -> bool:
        """Drop the least recently used shard, where there is another than `but`."""
        with self._lock:
            cached = sorted((used, name) for used, _, name in self._cached() if name != but)
            if cached:
                self.discard(cached[0][1])
            return bool(cached)

    def _cached(self) -> list[tuple[int, int, str]]:
        """Time of last use, bytes and name of every cached shard."""
        found = []
        for path in (self.cache / "shards").glob(f"[!.]*{SUFFIX}"):
            with suppress(FileNotFoundError):  # another process dropped it
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, f"shards/{path.name}"))
        return found
