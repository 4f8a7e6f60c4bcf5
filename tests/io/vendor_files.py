"""Writers of small vendor files for tests: the least that each format needs; microvolts in."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: unit code of GDF 2 -> unit
GDF_CODES = {"uV": 4275, "mV": 4274, "nV": 4276, "V": 4256, "degC": 6048}


def _padded(texts: Sequence[str], width: int) -> bytes:
    return b"".join(text.encode("latin-1").ljust(width, b"\0") for text in texts)


def write_gdf(
    path: Path, data: np.ndarray, names: Sequence[str], sfreq: int, version="2.20", units=None, event=3
) -> Path:
    """One-second records of float32 (GDF type 16) in the given units; one event of type 769 at sample `event`."""
    n, n_times = data.shape
    units, records = units or ["uV"] * n, n_times // sfreq
    new = float(version) >= 1.9
    head = f"GDF {version}".encode()
    if new:
        head += b"X X".ljust(66) + bytes(10 + 4) + bytes(64) + bytes(4) + bytes(12) + struct.pack("<QQ", 0, 0)
        head += struct.pack("<H", n + 1) + bytes(6 + 8 + 6 + 6 + 24)
        head += struct.pack("<q2IHH", records, 1, 1, n, 0)
    else:
        head += b"X X".ljust(80) + bytes(80) + b"2020010112000000" + struct.pack("<q", 256 * (n + 1)) + bytes(24 + 20)
        head += struct.pack("<q3I", records, 1, 1, n)
    assert len(head) == 256
    head += _padded(names, 16) + bytes(80 * n)
    if new:
        head += bytes(6 * n) + struct.pack(f"<{n}H", *(GDF_CODES[unit] for unit in units))
    else:
        head += _padded(units, 8)
    limit = "d" if new else "q"
    head += struct.pack(f"<{2 * n}d", *([-1000.0] * n + [1000.0] * n))
    head += struct.pack(f"<{2 * n}{limit}", *([-1000] * n + [1000] * n))
    head += bytes((68 + 12) * n) + struct.pack(f"<{2 * n}i", *([sfreq] * n + [16] * n)) + bytes(32 * n)
    assert len(head) == 256 * (n + 1)
    body = data[:, : records * sfreq].reshape(n, records, sfreq).transpose(1, 0, 2).astype("<f4").tobytes()
    table = struct.pack("<B3Bf", 1, 1, 0, 0, sfreq) if new else struct.pack("<B3BI", 1, sfreq, 0, 0, 1)
    path.write_bytes(head + body + table + struct.pack("<IH", event + 1, 769))
    return path


def write_cnt(path: Path, data: np.ndarray, names: Sequence[str], sfreq: int, event=3) -> Path:
    """Neuroscan: int16 with 0.1 uV steps, one event of type 7."""
    n, n_times = data.shape
    setup = bytearray(900)
    setup[225:245] = b"01/02/20".ljust(10, b"\0") + b"12:00:00".ljust(10, b"\0")
    setup[370:372], setup[376:378] = struct.pack("<H", n), struct.pack("<H", sfreq)
    table = 900 + 75 * n + 2 * data.size
    setup[864:868], setup[886:890] = struct.pack("<i", n_times), struct.pack("<i", table)
    electrodes = b""
    for name in names:
        row = bytearray(75)
        row[:10] = name.encode().ljust(10, b"\0")
        row[59:63], row[71:75] = struct.pack("<f", 20.48), struct.pack("<f", 1.0)  # 20.48 / 204.8 = 0.1 uV
        electrodes += row
    values = np.rint(data.T * 10).astype("<i2").tobytes()
    place = 900 + 75 * n + (event + 1) * n * 2
    path.write_bytes(
        bytes(setup) + electrodes + values + struct.pack("<Bii", 1, 8, 0) + struct.pack("<HBBi", 7, 0, 0, place)
    )
    return path


def write_egi(path: Path, data: np.ndarray, sfreq: int, bits=0, value_range=0, event=3) -> Path:
    """EGI simple binary: float32 microvolts, or int16 steps of value_range / 2**bits microvolts; one event code."""
    n, n_times = data.shape
    step = value_range / 2**bits if bits else 1.0
    codes = np.zeros((1, n_times))
    codes[0, event] = 1
    kind, version = (">i2", 2) if bits else (">f4", 4)
    frames = np.concatenate([np.rint(data / step) if bits else data, codes]).T.astype(kind)
    head = struct.pack(">i6hi5hih", version, 2020, 1, 2, 12, 0, 0, 0, sfreq, n, 1, bits, value_range, n_times, 1)
    path.write_bytes(head + b"tone" + frames.tobytes())
    return path


#: code of an electrode in Nihon Kohden files without a .21E file
NIHON_CODES = {"FP1": 0, "FP2": 1, "C3": 4, "O2": 9}


def write_nihon(path: Path, data: np.ndarray, names: Sequence[str], sfreq: int) -> Path:
    """Nihon Kohden EEG-1100: one control block, one data block, steps of 6399.902 / 65535 uV."""
    n, n_times = data.shape
    version, block = b"EEG-1100C V01.00", 0x1800
    head = bytearray(block + 0x27 + 10 * n)
    head[0:16], head[0x81:0x91], head[0x91] = version, version, 1
    head[0x92:0x96] = struct.pack("<I", 0x400)
    head[0x400 + 17] = 1
    head[0x400 + 18 : 0x400 + 22] = struct.pack("<I", block)
    head[0x17FE] = 1
    head[block + 0x1A : block + 0x1C] = struct.pack("<H", sfreq)
    head[block + 0x1C : block + 0x20] = struct.pack("<I", 10 * n_times // sfreq)
    head[block + 0x26] = n
    for i, name in enumerate(names):
        head[block + 0x27 + 10 * i] = NIHON_CODES[name.upper()]
    step = 6399.902 / 65535
    digital = np.rint((data + 3200) / step) - 32768  # digital minimum is -3200 uV
    stored = (digital.astype(np.int64) - 0x8000).astype(np.uint16)  # stored as offset binary
    frames = np.concatenate([stored, np.zeros((1, n_times), np.uint16)]).T
    path.write_bytes(bytes(head) + np.ascontiguousarray(frames).astype("<u2").tobytes())
    return path


def write_persyst(path: Path, data: np.ndarray, names: Sequence[str], sfreq: int) -> Path:
    """Persyst: a .lay header and a .dat file of int16 in 0.1 uV."""
    np.rint(data.T * 10).astype("<i2").tofile(path.with_suffix(".dat"))
    channels = "\n".join(f"{name}-Ref={i + 1}" for i, name in enumerate(names))
    path.write_text(
        f"[FileInfo]\nFile={path.with_suffix('.dat').name}\nFileType=Interleaved\nSamplingRate={sfreq}\n"
        f"HeaderLength=0\nCalibration=0.1\nWaveformCount={len(names)}\nDataType=0\n[ChannelMap]\n{channels}\n"
        "[SampleTimes]\n0=0.0\n[Patient]\nFirst=\nLast=\nSex=\nHand=\nID=\nBirthDate=01/01/70\nTestDate=01/02/2020\nTestTime=12:00:00\n"
        "[Comments]\n0.03,0.5,0,100,tone\n"
    )
    return path
