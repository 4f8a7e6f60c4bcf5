"""A corpus behind a URL: small files are read as they are, shards are fetched whole into a bounded local cache."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError, CorpusError, StorageError
from ..utils.files import make_folder, storage_error
from .shards import SUFFIX, Shard

logger = logging.getLogger(__name__)

#: Where shards are kept, and how many bytes of them, unless the caller says otherwise
CACHE, CACHE_BYTES = "BRAINOF_CACHE", "BRAINOF_CACHE_BYTES"
DEFAULT_CACHE_BYTES = 32 * 2**30

#: Attempts before a connection counts as lost, and seconds before the second of them (each later wait is twice as long)
ATTEMPTS, FIRST_WAIT = 5, 0.5
FETCHERS = 4

_CHUNK = 4 * 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_Result = TypeVar("_Result")


class RemoteFolder:
    """A corpus at a fsspec URL, read-only.

    Parameters
    ----------
    url : str
        The folder that holds corpus.json.
    options : mapping, optional
        Storage options of the file system (fsspec's own environment variables and config files count too).
    cache : path-like, optional
        Folder for fetched shards; $BRAINOF_CACHE or ~/.cache/brainof when left out. Processes may share it.
    cache_bytes : int, optional
        Most bytes of shards that are kept; the least recently used go first. $BRAINOF_CACHE_BYTES or 32 GiB when left
        out.

    Raises
    ------
    CorpusError
        The protocol is unknown or its package is not installed.
    """

    remote = True

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        import fsspec

        self.url, self.options = url.rstrip("/"), dict(options or {})
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url, **self.options)
        except (ImportError, ValueError) as error:
            raise CorpusError(
                f"cannot be reached ({error})",
                file=url,
                fix="S3 needs `pip install 'brainof[remote]'`, GCS `pip install gcsfs`",
            ) from None
        base = Path(cache or os.environ.get(CACHE) or Path.home() / ".cache" / "brainof")
        self.cache = base / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.cache_bytes = cache_bytes or _bytes_of(os.environ.get(CACHE_BYTES)) or DEFAULT_CACHE_BYTES
        self.evicted: list[Callable[[str], None]] = []
        self._lock = threading.RLock()
        self._fetching: dict[str, Future[Path]] = {}
        self._used: dict[str, float] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __str__(self) -> str:
        return self.url

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.options, self.cache.parent, self.cache_bytes)

    def where(self, name: str) -> str:
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes:
        return self._retry(name, lambda: self._files.cat_file(f"{self._root}/{name}"))

    def names(self, folder: str) -> list[str]:
        try:
            found = self._retry(folder, lambda: self._files.ls(f"{self._root}/{folder}", detail=False))
        except (FileNotFoundError, NotImplementedError, StorageError):
            return []  # HTTP servers list what they like; the merged index names every shard
        names = {str(path).rstrip("/").rsplit("/", 1)[-1] for path in found}
        return sorted(name for name in names if name and not name.startswith(".") and name != folder)

    def path(self, name: str) -> Path:
        """The local copy of a file: shards are fetched once and kept, all else is fetched anew.

        Raises
        ------
        CorpusError
            There is no such file, or what arrives is damaged each time; names it.
        StorageError
            The connection is lost, or the cache disk is full; names the file.
        """
        if not name.endswith(SUFFIX):
            return self._fetch(name)
        with self._lock:
            local = self.cache / name
            future = self._fetching.get(name)
            if future is None:
                if local.exists():
                    self._touch(name, local)
                    return local
                future = self._submit(name)
        return future.result()

    def fetch_ahead(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in dict.fromkeys(names):
                # what is fetched too early would push out what is needed now
                if len(self._fetching) >= 2 * FETCHERS:
                    return
                if name not in self._fetching:
                    local = self.cache / name
                    if local.exists():
                        self._touch(name, local)
                    else:
                        self._submit(name)

    def discard(self, name: str) -> None:
        with self._lock:
            (self.cache / name).unlink(missing_ok=True)
            for forget in self.evicted:
                forget(name)

    def _submit(self, name: str) -> Future[Path]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="brainof-fetch")
        future = self._fetching[name] = self._pool.submit(self._fetch, name)
        future.add_done_callback(lambda _: self._fetched(name))
        return future

    def _fetched(self, name: str) -> None:
        with self._lock:
            self._fetching.pop(name, None)

    def _touch(self, name: str, local: Path) -> None:
        self._used[name] = time.time()
        with suppress(OSError):
            os.utime(local)  # other processes that share the cache see that it is in use

    def _fetch(self, name: str) -> Path:
        local = self.cache / name
        make_folder(local.parent)
        size = int(self._retry(name, lambda: self._files.info(f"{self._root}/{name}"), missing=True).get("size") or 0)
        if name.endswith(SUFFIX):
            self._make_room(name, size)
        self._retry(name, lambda: self._download(name, local, size), missing=True)
        self._touch(name, local)
        return local

    def _download(self, name: str, local: Path, size: int) -> None:
        """One attempt; the file appears whole and checked or not at all."""
        handle, text = tempfile.mkstemp(dir=local.parent, prefix=f".{local.name}.", suffix=".tmp")
        temporary = Path(text)
        try:
            with self._files.open(f"{self._root}/{name}", "rb", cache_type="none") as source:
                while part := source.read(_CHUNK):
                    self._write(handle, part, name, size)
            os.close(handle)
            handle = -1
            if name.endswith(SUFFIX):
                Shard(temporary, self.where(name)).check()
            os.replace(temporary, local)
        finally:
            if handle >= 0:
                os.close(handle)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _write(self, handle: int, part: bytes, name: str, size: int) -> None:
        view = memoryview(part)
        while view:
            try:
                view = view[os.write(handle, view) :]
            except OSError as error:
                # whatever else is cached can be fetched again, so it is what makes room
                if error.errno in _FULL and self._evict_oldest(name):
                    continue
                raise _CacheFull(storage_error(error, self.cache / name, size)) from None

    def _retry(self, name: str, action: Callable[[], _Result], missing: bool = False) -> _Result:
        """Do what may fail because a connection is lost, several times."""
        wait = FIRST_WAIT
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action()
            except FileNotFoundError:
                if not missing:
                    raise
                word = "shard is missing" if name.endswith(SUFFIX) else "is missing"
                raise CorpusError(word, file=self.where(name)) from None
            except _CacheFull as full:
                raise StorageError(
                    f"cannot be cached ({full.error.problem})",
                    file=self.where(name),
                    fix=f"free some space, or set {CACHE}",
                ) from None
            except PermissionError as error:
                raise StorageError(
                    f"cannot be read ({error})", file=self.where(name), fix="check the credentials"
                ) from None
            except NotImplementedError:
                raise
            except Exception as error:  # every file system raises errors of its own when a connection ends
                if attempt == ATTEMPTS:
                    if isinstance(error, CorpusError):
                        raise
                    why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                    raise StorageError(
                        f"cannot be fetched after {ATTEMPTS} attempts ({why})",
                        file=self.where(name),
                        fix="check the connection and run the command again",
                    ) from None
                logger.info("%s: attempt %d failed (%s)", self.where(name), attempt, error)
                time.sleep(wait)
                wait *= 2
        raise AssertionError("unreachable")

    def _make_room(self, name: str, size: int) -> None:
        """Drop the least recently used shards until `size` more bytes fit."""
        if size > self.cache_bytes:
            raise StorageError(
                f"shard of {size / 1e6:.1f} MB does not fit a cache of {self.cache_bytes / 1e6:.1f} MB",
                file=self.where(name),
                fix=f"give a larger cache ({CACHE_BYTES})",
            )
        with self._lock:
            while sum(n for _, n, _ in self._cached()) + size > self.cache_bytes and self._evict_oldest(name):
                pass

    def _evict_oldest(self, but: str) -> bool:
        with self._lock:
            cached = sorted((used, name) for name, _, used in self._cached() if name != but)
            if not cached:
                return False
            self.discard(cached[0][1])
            return True

    def _cached(self) -> list[tuple[str, int, float]]:
        """Name, bytes and time of last use of every cached shard."""
        found = []
        for path in (self.cache / "shards").glob(f"[!.]*{SUFFIX}"):
            with suppress(FileNotFoundError):  # another process dropped it
                status = path.stat()
                name = f"shards/{path.name}"
                found.append((name, status.st_size, max(status.st_mtime, self._used.get(name, 0.0))))
        return found


class _CacheFull(Exception):
    def __init__(self, error: StorageError) -> None:
        self.error = error


def _bytes_of(text: str | None) -> int | None:
    if not text:
        return None
    try:
        return int(float(text))
    except ValueError:
        raise ConfigError(f"{text!r} is not a number of bytes", field=CACHE_BYTES) from None
