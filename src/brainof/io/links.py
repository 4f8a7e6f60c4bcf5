"""Files whose endings MNE does not know: in upper case, or others for the same format."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BrainOFError

#: formats of which MNE compares the ending
_PARTICULAR = ("brainvision", "eeglab", "persyst", "egi")
#: endings that MNE does not know -> what it calls them
_ENDINGS = {".rec": ".edf"}


@contextmanager
def lower_case(path: Path, format_name: str) -> Iterator[Path]:
    """The path, or a link to it in a temporary folder where all files of the recording end in lower case, too.

    Errors raised meanwhile name the file itself.
    """
    parts = []
    if path.suffix.lower() in _ENDINGS:
        parts = [path]
    elif format_name in _PARTICULAR:
        parts = [other for other in path.parent.iterdir() if other.stem.lower() == path.stem.lower()]
    if all(_ending(other) == other.suffix for other in parts):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for other in parts:
            for name in {other.name, other.stem + _ending(other), path.stem + _ending(other)}:
                (Path(folder) / name).symlink_to(other.absolute())
        try:
            yield Path(folder) / (path.stem + _ending(path))
        except BrainOFError as error:
            if error.file is None or Path(error.file).parent != Path(folder):
                raise
            own = path.parent / Path(error.file).name if Path(error.file).stem != path.stem else path
            raise type(error)(error.problem, file=own, field=error.field, fix=error.fix) from None


def _ending(path: Path) -> str:
    return _ENDINGS.get(path.suffix.lower(), path.suffix.lower())
