"""The header of BrainVision files, checked for what MNE follows or loads silently: foreign paths and cut data files.

Layout: BrainVision Core Data Format 1.0.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ReadError
from .checks import inside, named_file
from .text_table import decoded
from .vendor_headers import refuse_twice

_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4, "IEEE_FLOAT_64": 8}


def check_brainvision(path: Path, root: Path) -> tuple[bool, list[str]]:
    """Whether the data of a .vhdr file are cut, and notes; ReadError where a path leaves `root` or data are missing."""
    text = _text(path)
    data_name, marker_name = _value(text, "DataFile"), _value(text, "MarkerFile")
    if data_name is None:
        raise ReadError("is not given", file=path, field="DataFile", fix="the header is damaged")
    if "$b" in data_name:
        fix = f"write {path.stem}.eeg, or whatever the data file is called"
        raise ReadError("is given by the placeholder $b, which MNE does not read", file=path, field="DataFile", fix=fix)
    refuse_twice([name for name, _ in _entries(text)], path)
    data = named_file(data_name, path, root, "DataFile")
    markers = inside(marker_name, path, root, "MarkerFile") if marker_name else None
    size = data.stat().st_size
    if size == 0:
        raise ReadError(f"{data.name} is empty (0 bytes)", file=path, field="DataFile", fix="copy the file again")
    return _cut(text, size, markers)


@contextmanager
def markers_in_utf8(path: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Arguments of MNE's reader for a marker file that is not UTF-8, which it looks at as UTF-8 first, and a note."""
    name = _value(_text(path), "MarkerFile")
    file = path.parent / name.replace("\\", "/") if name else None
    text, notes = decoded(file.read_bytes()) if file is not None and file.is_file() else ("", [])
    if file is None or not notes:
        yield {}, []
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        copy.write_text(re.sub(r"(?i)^Codepage\s*=.*$", "Codepage=UTF-8", text, flags=re.MULTILINE), encoding="utf-8")
        yield {"overrides": {"marker_fname": str(copy)}}, [f"{file.name} {note}" for note in notes]


def channel_units(path: Path) -> dict[str, str]:
    """Unit text of each channel as written; the format's default is microvolts."""
    return dict(_entries(_text(path)))


def _entries(text: str) -> list[tuple[str, str]]:
    """Name and unit of each channel."""
    found = []
    for entry in re.findall(r"^\s*Ch\d+\s*=\s*(.+?)\s*$", text.partition("[Coordinates]")[0], flags=re.MULTILINE):
        name, _, _, unit = [*entry.split(","), "", "", ""][:4]
        found.append((name.replace(r"\1", ","), unit.strip() or "µV"))
    return found


def _cut(text: str, size: int, markers: Path | None) -> tuple[bool, list[str]]:
    n_channels = int(_value(text, "NumberOfChannels") or 0)
    width = _BYTES.get((_value(text, "BinaryFormat") or "").upper())
    if (_value(text, "DataFormat") or "BINARY").upper() != "BINARY" or not width or not n_channels:
        return False, []
    frame = width * n_channels
    frames, rest = divmod(size, frame)
    said = int(_value(text, "DataPoints") or 0)
    if said > frames:
        return True, [f"the data file is cut: {frames} of {said} samples are there"]
    marker = r"^Mk\d+=[^,\n]*,[^,\n]*,\s*(\d+)\s*,"
    found = re.findall(marker, _text(markers), re.MULTILINE) if markers is not None and markers.is_file() else []
    if (last := max(map(int, found), default=0)) > frames:
        return True, [f"the data file is cut: it holds {frames} samples, a marker lies at sample {last}"]
    if rest:
        return True, [f"the data file is cut: it ends within a sample ({rest} of {frame} bytes)"]
    return False, []


def _value(text: str, key: str) -> str | None:
    found = re.search(rf"^\s*{key}\s*=\s*(.*?)\s*$", text, flags=re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found and found.group(1) else None


def _text(path: Path) -> str:
    return decoded(path.read_bytes())[0]  # version 1 was written in Latin-1
