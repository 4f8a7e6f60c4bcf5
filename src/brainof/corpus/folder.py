"""Where the files of a corpus lie: a local folder, or a fsspec URL (`remote.RemoteFolder`)."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import CorpusError
from ..paths import user_path
from ..utils.files import read_json
from .index import FORMAT, VERSIONS


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


def is_url(root: str | PathLike[str]) -> bool:
    """Whether `root` names a place that fsspec must reach (s3://..., https://..., memory://...)."""
    return isinstance(root, str) and "://" in root


def object_names(folder: Folder, kind: str) -> list[str]:
    """The JSON files of one of a corpus's folders, by their name below its root."""
    return [f"{kind}/{name}" for name in folder.names(kind) if name.endswith(".json")]


def read_object(folder: Folder, name: str) -> dict[str, Any]:
    """A JSON object, read as `utils.files.read_json` does."""
    return read_json(folder.where(name), lambda: folder.read(name))


def check_version(folder: Folder) -> int:
    """The version of the corpus in a folder; a CorpusError where there is none, or one of another version."""
    if not folder.remote and not folder.root.is_dir():
        raise CorpusError("no such corpus", file=folder.root)
    try:
        folder.read("corpus.json")
    except FileNotFoundError:
        raise CorpusError("is not a corpus (it holds no corpus.json)", file=str(folder)) from None
    except OSError:
        pass  # named below
    values = read_object(folder, "corpus.json")
    where = folder.where("corpus.json")
    if values.get("format") != FORMAT:
        raise CorpusError(f"{values.get('format')!r} is not {FORMAT!r}", file=where, field="format")
    if values.get("version") not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        problem = f"corpus of version {values.get('version')}, this brainof reads version {known}"
        raise CorpusError(
            problem, file=where, field="version", fix="use the brainof that wrote it, or prepare it again"
        )
    return int(values["version"])
