"""Headers of GDF, EGI, Curry, Persyst, FIF and BrainVision files, checked for what MNE loads wrongly or silently.

MNE knows microvolts and millivolts in GDF 2, microvolts in GDF 1, and takes everything else for volts; of EGI integer
files it takes microvolts for volts. Layouts: GDF 1.25 and 2.20 (Schloegl, https://arxiv.org/abs/cs/0608052); EGI simple
binary (Net Station file formats, appendix); BrainVision Core Data Format 1.0.
"""

from __future__ import annotations

import math
import re
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from .checks import inside, named_file
from .names import unique
from .text_table import decoded

_DAMAGED = "the file is cut or its header is damaged"

#: seconds: in a day (clocks of Persyst begin again), and by which the written time of a packet may differ
_DAY, _JITTER = 86_400.0, 0.1

#: GDF data type -> bytes
_GDF_BYTES = {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 16: 4, 17: 8, 279: 3, 535: 3}
#: unit codes of GDF 2 (ISO 11073; 4256 is the volt, the last five bits its decimal prefix)
_GDF_UNITS = {4256: "V", 4274: "mV", 4275: "uV", 4276: "nV", 4277: "pV", 4278: "fV"}
#: BinaryFormat of BrainVision -> bytes
_BRAINVISION_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4, "IEEE_FLOAT_64": 8}


def check_gdf(path: Path) -> tuple[dict[str, str], dict[str, float], list[str]]:
    """Check the header of a GDF file against its size; unit of each channel, volts that MNE takes for it, flat ones.

    The minimum of a flat channel equals its maximum: its scale is undefined.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        fixed = stream.read(256)
        try:
            version = float(fixed[4:8].decode("ascii"))
        except ValueError:
            version = 0.0
        if fixed[:3] != b"GDF" or version <= 0:
            raise ReadError(f"{fixed[:8]!r} is not the start of a GDF file", file=path, field="version")
        if len(fixed) < 256:
            raise ReadError("header is cut", file=path, fix="copy the file again")
        new = version >= 1.9
        n = int.from_bytes(fixed[252 : 254 if new else 256], "little")
        if not 0 < n < size // 256:
            raise ReadError(f"header says {n} signals", file=path, field="number of signals", fix="it is damaged")
        table = stream.read(256 * n)
        samples, kinds = np.frombuffer(table, "<i4", 2 * n, 216 * n).reshape(2, n).tolist()
        record = sum(count * _GDF_BYTES.get(kind, 1) for count, kind in zip(samples, kinds, strict=True))
        records = int.from_bytes(fixed[236:244], "little", signed=True)
        header_bytes = int.from_bytes(fixed[184 : 186 if new else 192], "little") * (256 if new else 1)
        at = header_bytes + max(0, records * record)
        stream.seek(min(at, size))
        events = stream.read(8).ljust(8, b"\0")
    if min(samples) <= 0 or records <= 0 or record * records > size:
        problem = f"header says {records} records of {record} bytes, the file has {size}"
        raise ReadError(problem, file=path, field="number of records", fix=_DAMAGED)
    n_events = int.from_bytes(events[1:4] if new else events[4:], "little")
    if events[0] in (1, 3) and at + 8 + n_events * (12 if events[0] == 3 else 6) > size:
        problem = f"the table of events announces {n_events}, the file has {max(0, size - at - 8)} bytes for them"
        raise ReadError(problem, file=path, field="events", fix=_DAMAGED)
    if new:
        units = [_GDF_UNITS.get(code, f"code {code}") for code in np.frombuffer(table, "<u2", n, 102 * n).tolist()]
        known = [{"uV": 1e-6, "mV": 1e-3}.get(unit, 1.0) for unit in units]
    else:
        units = _texts(table, 8, n, 96 * n)
        known = [1e-6 if unit[:2] == "uV" else 1.0 for unit in units]
    physical = np.frombuffer(table, "<f8", 2 * n, 104 * n).reshape(2, n)
    digital = np.frombuffer(table, "<f8" if new else "<i8", 2 * n, 120 * n).reshape(2, n)
    flat = (physical[0] == physical[1]) | (digital[0] == digital[1])
    texts = _texts(table, 16, n, 0)
    names = unique(texts)  # as MNE numbers them
    flat_names = [name for name, is_flat in zip(texts, flat, strict=True) if is_flat]
    return dict(zip(names, units, strict=True)), dict(zip(names, known, strict=True)), flat_names


def _texts(table: bytes, width: int, n: int, at: int) -> list[str]:
    cells = np.frombuffer(table, f"S{width}", n, at).tolist()
    return [cell.decode("latin-1").split("\0")[0].strip() for cell in cells]


def check_egi(path: Path) -> float:
    """Check the header of an EGI simple binary file against its size; the factor that brings MNE's values to volts."""
    with path.open("rb") as stream:
        header, size = stream.read(36), path.stat().st_size
    if len(header) < 36:
        raise ReadError(f"has {size} bytes, less than an EGI header (36)", file=path, fix="copy the file again")
    version, *_, rate, n_channels, _, bits, value_range, n_samples, n_events = struct.unpack(">i6hi5hih", header)
    if version not in (2, 4, 6):
        raise ReadError(f"version {version}", file=path, field="version", fix="give a continuous simple binary file")
    needed = 36 + 4 * n_events + (n_channels + n_events) * n_samples * {2: 2, 4: 4, 6: 8}[version]
    if min(n_channels, n_samples, rate) <= 0 or n_events < 0 or needed > size:
        said = f"says {n_channels} channels x {n_samples} samples at {rate} Hz, {needed} bytes"
        raise ReadError(f"{said}; the file has {size}", file=path, field="size", fix=_DAMAGED)
    return 1e-6 if bits and value_range else 1.0


def check_mff(path: Path) -> None:
    """Check the blocks of the signals in an EGI .mff folder against the size of their files."""
    signals = sorted(path.glob("signal*.bin"))
    if not signals:
        raise ReadError("holds no signal*.bin", file=path, field="signal", fix="copy the whole folder")
    for file in signals:
        size, at, header, block, n_channels = file.stat().st_size, 0, 0, 0, 0
        with file.open("rb") as stream:
            while at < size:
                stream.seek(at)
                flag, *rest = struct.unpack("<4i", stream.read(16).ljust(16, b"\0"))
                if flag:
                    header, block, n_channels = rest
                if min(header, block) <= 0 or n_channels <= 0 or at + (header if flag else 4) + block > size:
                    said = (
                        f"the block at byte {at} announces {n_channels} channels in {block} bytes, the file has {size}"
                    )
                    raise ReadError(said, file=file, field="size", fix="the file is cut or damaged")
                at += (header if flag else 4) + block


def check_curry(path: Path) -> None:
    """Check the counts of a Curry parameter file against the size of its data."""
    names = [path.name + end for end in (".dpa", ".dpo")]
    header = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if header is None:
        raise ReadError(f"its parameters {names[0]} are missing", file=path, fix="copy them beside it")
    text = header.read_text(encoding="latin-1")
    counts = {}
    for field_name in ("NumSamples", "NumChannels", "NumTrials"):
        found = re.search(rf"^\s*{field_name}\s*=\s*(\d+)", text, flags=re.MULTILINE)
        if found is None:
            raise ReadError("is missing or not a count", file=header, field=field_name, fix="the file is damaged")
        counts[field_name] = int(found[1])
    labels = re.findall(r"^LABELS\w* START_LIST[^\n]*\n(.*?)^LABELS\w* END_LIST", text, flags=re.M | re.S)
    refuse_twice([name.strip() for block in labels for name in block.splitlines() if name.strip()], header)
    values, size = math.prod(counts.values()), path.stat().st_size
    least = 2 if re.search(r"DataFormat\s*=\s*ASCII", text) else 4
    if values <= 0 or least * values > size:
        said = " x ".join(f"{count} {name[3:].lower()}" for name, count in counts.items())
        problem = f"{header.name} announces {said}, the file has {size} bytes"
        raise ReadError(problem, file=path, field="size", fix=_DAMAGED)


def refuse_twice(names: Sequence[str], path: Path) -> None:
    """Refuse channels of one name where MNE would read another number of them, or fail."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        fix = "give each channel of the header its own name"
        raise ReadError(f"two channels are called {twice!r}", file=path, field="channels", fix=fix)


def persyst_section(path: Path, name: str) -> list[tuple[str, str]]:
    """Keys and values of a section of a Persyst .lay file, also those that occur twice."""
    text = re.split(rf"^\s*\[{name}\]\s*$", decoded(path.read_bytes())[0], maxsplit=1, flags=re.M | re.I)[1:]
    lines = re.split(r"^\s*\[", text[0], maxsplit=1, flags=re.M)[0].splitlines() if text else []
    return [(key.strip(), value.strip()) for key, mark, value in (line.rpartition("=") for line in lines) if mark]


def check_persyst(path: Path) -> None:
    """Refuse a recording of which two channels have one name: MNE counts them once."""
    refuse_twice([re.split("-ref", key.upper(), flags=re.I)[0] for key, _ in persyst_section(path, "ChannelMap")], path)


def persyst_pauses(path: Path, sfreq: float) -> list[int]:
    """Samples of a Persyst recording before which its `[SampleTimes]` jump; MNE does not read them."""
    try:
        rows = [(int(sample), float(time)) for sample, time in persyst_section(path, "SampleTimes")]
    except ValueError:
        return []
    steps = [(b[0], (b[1] - a[1]) % _DAY - (b[0] - a[0]) / sfreq) for a, b in pairwise(rows)]
    return [sample for sample, lost in steps if abs(lost) > max(_JITTER, 1 / sfreq)]


def where_fif_ends(path: Path) -> str | None:
    """Where the chain of tags of a FIF file breaks, as a sentence; None where it does not."""
    at, size = 0, path.stat().st_size
    with path.open("rb") as stream:
        while at + 16 <= size:
            stream.seek(at)
            kind, _, length, following = struct.unpack(">4i", stream.read(16))
            if at == 0 and kind != 100:
                return "file damaged at byte 0: it begins with no FIF tag"
            if length < 0 or at + 16 + length > size:
                return f"file damaged at byte {at}: a tag announces {length} bytes, the file has {size}"
            if following == -1:
                return None
            if following < 0 or (0 < following <= at):
                return f"file damaged at byte {at}: the next tag is said to be at {following}"
            at = following or at + 16 + length
    return f"file damaged at byte {size}: it ends before its last tag"


def check_brainvision(path: Path, root: Path) -> list[str]:
    """A note where the data of a .vhdr file are cut; ReadError where a path leaves `root` or data are missing."""
    text = decoded(path.read_bytes())[0]  # version 1 was written in Latin-1
    data_name, marker_name = _value(text, "DataFile"), _value(text, "MarkerFile")
    if data_name is None:
        raise ReadError("is not given", file=path, field="DataFile", fix="the header is damaged")
    if "$b" in data_name:
        fix = f"write {path.stem}.eeg, or whatever the data file is called"
        raise ReadError("is given by the placeholder $b, which MNE does not read", file=path, field="DataFile", fix=fix)
    refuse_twice([name for name, _ in channel_units(path)], path)
    data = named_file(data_name, path, root, "DataFile")
    markers = inside(marker_name, path, root, "MarkerFile") if marker_name else None
    size = data.stat().st_size
    if size == 0:
        raise ReadError(f"{data.name} is empty (0 bytes)", file=path, field="DataFile", fix="copy the file again")
    width = _BRAINVISION_BYTES.get((_value(text, "BinaryFormat") or "").upper(), 0)
    frame, data_format = width * int(_value(text, "NumberOfChannels") or 0), _value(text, "DataFormat") or "BINARY"
    if data_format.upper() != "BINARY" or not frame:
        return []
    frames, rest = divmod(size, frame)
    said = int(_value(text, "DataPoints") or 0)
    if said > frames:
        return [f"the data file is cut: {frames} of {said} samples are there"]
    text = decoded(markers.read_bytes())[0] if markers is not None and markers.is_file() else ""
    last = max(map(int, re.findall(r"^Mk\d+=[^,\n]*,[^,\n]*,\s*(\d+)\s*,", text, re.MULTILINE)), default=0)
    if last > frames:
        return [f"the data file is cut: it holds {frames} samples, a marker lies at sample {last}"]
    return [f"the data file is cut: it ends within a sample ({rest} of {frame} bytes)"] if rest else []


def named_files(path: Path) -> list[str]:
    """The files of data and markers that a BrainVision or Persyst header names, as it writes them."""
    text = decoded(path.read_bytes())[0]
    return [name for key in ("DataFile", "MarkerFile", "File") if (name := _value(text, key))]


@contextmanager
def markers_in_utf8(path: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Arguments of MNE's reader for a marker file that is not UTF-8, which it looks at as UTF-8 first, and a note."""
    name = _value(decoded(path.read_bytes())[0], "MarkerFile")
    file = path.parent / name.replace("\\", "/") if name else None
    text, notes = decoded(file.read_bytes()) if file is not None and file.is_file() else ("", [])
    if file is None or not notes:
        yield {}, []
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        copy.write_text(re.sub(r"(?i)^Codepage\s*=.*$", "Codepage=UTF-8", text, flags=re.MULTILINE), encoding="utf-8")
        yield {"overrides": {"marker_fname": str(copy)}}, [f"{file.name} {note}" for note in notes]


def channel_units(path: Path) -> list[tuple[str, str]]:
    """Name of each channel of a .vhdr file, and its unit as written; the format's default is microvolts."""
    text, found = decoded(path.read_bytes())[0].partition("[Coordinates]")[0], []
    for entry in re.findall(r"^\s*Ch\d+\s*=\s*(.+?)\s*$", text, flags=re.MULTILINE):
        name, _, _, unit = [*entry.split(","), "", "", ""][:4]
        found.append((name.replace(r"\1", ","), unit.strip() or "µV"))
    return found


def _value(text: str, key: str) -> str | None:
    found = re.search(rf"^\s*{key}\s*=\s*(.*?)\s*$", text, flags=re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found and found.group(1) else None
