"""Headers of GDF, EGI, Curry and FIF files, checked for what MNE loads wrongly or takes memory for.

MNE knows microvolts and millivolts in GDF 2, microvolts in GDF 1, and takes everything else for volts; of EGI integer
files it takes microvolts for volts. Layouts: GDF 1.25 and 2.20 (Schloegl, https://arxiv.org/abs/cs/0608052); EGI simple
binary (Net Station file formats, appendix).
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import ReadError
from .units import factor_to_si

#: GDF data type -> bytes
_GDF_BYTES = {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 16: 4, 17: 8, 279: 3, 535: 3}
#: last five bits of a GDF 2 unit code (ISO 11073) -> decimal factor; 4256 is the volt
_VOLT, _DECIMALS = 4256, {0: 1.0, 17: 1e-2, 18: 1e-3, 19: 1e-6, 20: 1e-9, 21: 1e-12, 22: 1e-15}


@dataclass
class Checked:
    """What a header says: factors that bring MNE's values to volts, and SI values of one stored unit, by name.

    `unknown` names channels whose unit is no voltage.
    """

    corrections: dict[str, float] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    flat: list[str] = field(default_factory=list)
    """Channels whose minimum equals their maximum: the scale is undefined."""


def check_gdf(path: Path) -> Checked:
    """Check the header of a GDF file against its size, and find the units that MNE does not know.

    Raises
    ------
    ReadError
        It is no GDF file, or announces more than the file holds.
    """
    with path.open("rb") as stream:
        magic = stream.read(8)
        try:
            version = float(magic[4:8].decode("ascii"))
        except ValueError:
            version = 0.0
        if magic[:3] != b"GDF" or version <= 0:
            raise ReadError(f"{magic!r} begins no GDF file", file=path, field="version")
        new = version >= 1.9
        n = int(_numbers(stream, 252, "<u2" if new else "<u4", 1, path)[0])
        size = path.stat().st_size
        if not 0 < n <= size // 256:
            raise ReadError(f"header says {n} signals", file=path, field="number of signals", fix="it is damaged")
        records = int(_numbers(stream, 236, "<i8", 1, path)[0])
        names = [_text(stream, 256 + 16 * i, 16) for i in range(n)]
        at = 256 + n * (16 + 80)
        if new:
            codes = _numbers(stream, at + 6 * n, "<u2", n, path).tolist()
            volts = [_volts_of_code(code) for code in codes]
            known = [{4275: 1e-6, 4274: 1e-3}.get(code, 1.0) for code in codes]
            units = [f"code {code}" for code in codes]
        else:
            units = [_text(stream, at + 8 * i, 8) for i in range(n)]
            volts = [factor_to_si(unit, "V") for unit in units]
            known = [1e-6 if unit[:2] == "uV" else 1.0 for unit in units]
        at += 8 * n
        limits = _numbers(stream, at, "<f8", 2 * n, path).reshape(2, n)
        digital = _numbers(stream, at + 16 * n, "<f8" if new else "<i8", 2 * n, path).reshape(2, n)
        at += 32 * n + (80 * n)
        samples, kinds = _numbers(stream, at, "<i4", 2 * n, path).reshape(2, n).tolist()
    record = sum(count * _GDF_BYTES.get(kind, 1) for count, kind in zip(samples, kinds, strict=True))
    if min(samples) <= 0 or records <= 0 or record * records > size:
        raise ReadError(
            f"header says {records} records of {record} bytes, the file has {size}",
            file=path,
            field="number of records",
            fix="the file is cut or its header is damaged",
        )
    checked = Checked()
    for i, name in enumerate(names):
        factor = volts[i]
        if limits[0, i] == limits[1, i] or digital[0, i] == digital[1, i]:
            checked.flat.append(name)
        if factor is None:
            checked.unknown[name] = units[i]
        else:
            checked.corrections[name] = factor / known[i]
            checked.stored[name] = factor
    return checked


def _volts_of_code(code: int) -> float | None:
    """Factor to volts of a GDF 2 unit code; None where it is no voltage."""
    return _DECIMALS.get(code & 31) if code & ~31 == _VOLT else None


def _numbers(stream: BinaryIO, at: int, kind: str, count: int, path: Path) -> np.ndarray:
    width = np.dtype(kind).itemsize
    stream.seek(at)
    content = stream.read(width * count)
    if len(content) < width * count:
        raise ReadError("header is cut", file=path, fix="copy the file again")
    return np.frombuffer(content, kind)


def _text(stream: BinaryIO, at: int, width: int) -> str:
    stream.seek(at)
    return stream.read(width).decode("latin-1").split("\0")[0].strip()


def check_egi(path: Path) -> float:
    """Check the header of an EGI simple binary file; the factor that brings MNE's values to volts.

    Raises
    ------
    ReadError
        It is no such file, or announces more than the file holds.
    """
    with path.open("rb") as stream:
        header, size = stream.read(36), path.stat().st_size
    if len(header) < 36:
        raise ReadError(f"has {size} bytes, less than an EGI header (36)", file=path, fix="copy the file again")
    version, *_, rate, n_channels, _, bits, value_range, n_samples, n_events = struct.unpack(">i6hi5hih", header)
    if version not in (2, 4, 6):
        raise ReadError(f"version {version}", file=path, field="version", fix="give a continuous simple binary file")
    needed = 36 + 4 * n_events + (n_channels + n_events) * n_samples * {2: 2, 4: 4, 6: 8}[version]
    if min(n_channels, n_samples, rate) <= 0 or n_events < 0 or needed > size:
        raise ReadError(
            f"says {n_channels} channels x {n_samples} samples at {rate} Hz, {needed} bytes; the file has {size}",
            file=path,
            field="size",
            fix="the file is cut or its header is damaged",
        )
    return 1e-6 if bits and value_range else 1.0


def check_mff(path: Path) -> None:
    """Check the blocks of the signals in an EGI .mff folder against the size of their files.

    Raises
    ------
    ReadError
        A block announces more than the file holds, or there is no signal.
    """
    signals = sorted(path.glob("signal*.bin"))
    if not signals:
        raise ReadError("holds no signal*.bin", file=path, field="signal", fix="copy the whole folder")
    for file in signals:
        size, at, header, block = file.stat().st_size, 0, 0, 0
        with file.open("rb") as stream:
            while at < size:
                stream.seek(at)
                flag, *rest = struct.unpack("<4i", stream.read(16).ljust(16, b"\0"))
                if flag:
                    header, block, n_channels = rest
                if min(header, block) <= 0 or n_channels <= 0 or at + (header if flag else 4) + block > size:
                    problem = f"the block at byte {at} announces {n_channels} channels in {block} bytes"
                    fix = "the file is cut or damaged"
                    raise ReadError(f"{problem}, the file has {size}", file=file, field="size", fix=fix)
                at += (header if flag else 4) + block


def check_curry(path: Path) -> None:
    """Check the counts of a Curry parameter file against the size of its data.

    Raises
    ------
    ReadError
        It has no parameter file or no counts, or announces more than the file holds.
    """
    names = [path.name + end for end in (".dpa", ".dpo")]
    header = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if header is None:
        raise ReadError(f"its parameters {names[0]} are missing", file=path, fix="copy them beside it")
    text = header.read_text(encoding="latin-1")
    counts = {}
    for field_name in ("NumSamples", "NumChannels", "NumTrials"):
        found = re.search(rf"^\s*{field_name}\s*=\s*(\d+)", text, flags=re.MULTILINE)
        if found is None:
            raise ReadError("is missing or no count", file=header, field=field_name, fix="the file is damaged")
        counts[field_name] = int(found[1])
    values, size = math.prod(counts.values()), path.stat().st_size
    least = 2 if re.search(r"DataFormat\s*=\s*ASCII", text) else 4
    if values <= 0 or least * values > size:
        said = " x ".join(f"{count} {name[3:].lower()}" for name, count in counts.items())
        fix = "the file is cut or its header is damaged"
        raise ReadError(f"{header.name} announces {said}, the file has {size} bytes", file=path, field="size", fix=fix)


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
