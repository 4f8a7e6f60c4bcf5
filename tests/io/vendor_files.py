"""Writers of small vendor files for tests: the least that each format needs; microvolts in."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: unit code of GDF 2 -> unit
GDF_CODES = {"uV": 4275, "mV": 4274, "nV": 4276, "V": 4256, "degC": 6048, "none": 0}


def _padded(texts: Sequence[str], width: int) -> bytes:
    return b"".join(text.encode("latin-1").ljust(width, b"\0") for text in texts)


def write_gdf(
    path: Path, data: np.ndarray, names: Sequence[str], sfreq: int, version="2.20", units=None, event=3, code=769
) -> Path:
    """One-second records of float32 (GDF type 16) in the given units; one event of type `code` at sample `event`."""
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
    path.write_bytes(head + body + table + struct.pack("<IH", event + 1, code))
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


def write_persyst(path: Path, data: np.ndarray, names: Sequence[str], sfreq: int, times="0=0.0") -> Path:
    """Persyst: a .lay header and a .dat file of int16 in 0.1 uV; `times` are lines sample=seconds of the day."""
    np.rint(data.T * 10).astype("<i2").tofile(path.with_suffix(".dat"))
    channels = "\n".join(f"{name}-Ref={i + 1}" for i, name in enumerate(names))
    path.write_text(
        f"[FileInfo]\nFile={path.with_suffix('.dat').name}\nFileType=Interleaved\nSamplingRate={sfreq}\n"
        f"HeaderLength=0\nCalibration=0.1\nWaveformCount={len(names)}\nDataType=0\n[ChannelMap]\n{channels}\n"
        f"[SampleTimes]\n{times}\n"
        "[Patient]\nFirst=\nLast=\nSex=\nHand=\nID=\nBirthDate=01/01/70\nTestDate=01/02/2020\nTestTime=12:00:00\n"
        "[Comments]\n0.03,0.5,0,100,tone\n"
    )
    return path


def write_mff(path: Path, data: np.ndarray, sfreq: int, event=3, places=None, blocks=2) -> Path:
    """EGI .mff: float32 microvolts channel by channel in blocks, with XML beside them; one event code.

    `places` (n, 3) are in centimetres; three fiducials are added where they are given.
    """
    path.mkdir()
    n, n_times = data.shape
    body, microseconds = b"", 10**6 * n_times // sfreq
    for block in np.array_split(data.astype("<f4"), blocks, axis=1):
        n_bytes = block.nbytes
        body += struct.pack("<4i", 1, 20 + 8 * n, n_bytes, n) + (np.arange(n) * n_bytes // n).astype("<i4").tobytes()
        body += np.full(n, sfreq << 8 | 32, "<i4").tobytes() + struct.pack("<i", 0) + block.tobytes()
    (path / "signal1.bin").write_bytes(body)

    def xml(name: str, root: str, inside: str) -> None:
        space = {"info1": "info_n_mff", "Events_x": "event_mff", "info": "info_mff"}.get(name, f"{name}_mff")
        head = '<?xml version="1.0" encoding="UTF-8"?>'
        (path / f"{name}.xml").write_text(f'{head}<{root} xmlns="http://www.egi.com/{space}">{inside}</{root}>')

    xml("info", "fileInfo", "<mffVersion>3</mffVersion><recordTime>2020-01-02T12:00:00.000000+00:00</recordTime>")
    xml("info1", "dataInfo", "<generalInformation><fileDataType><EEG/></fileDataType></generalInformation>")
    span = f"<beginTime>0</beginTime><endTime>{microseconds}</endTime>"
    xml("epochs", "epochs", f"<epoch>{span}<firstBlock>1</firstBlock><lastBlock>{blocks}</lastBlock></epoch>")
    sensors = "".join(f"<sensor><number>{i + 1}</number><type>0</type></sensor>" for i in range(n))
    xml("sensorLayout", "sensorLayout", f"<name>three</name><sensors>{sensors}</sensors>")
    begin = f"2020-01-02T12:00:{event // sfreq:02d}.{10**6 * (event % sfreq) // sfreq:06d}+00:00"
    inside = f"<beginTime>{begin}</beginTime><duration>1000</duration><code>tone</code>"
    xml("Events_x", "eventTrack", f"<name>x</name><trackType>EVNT</trackType><event>{inside}</event>")
    if places is not None:
        fiducials = {
            "Left periauricular point": (-7, 0, 0),
            "Right periauricular point": (7, 0, 0),
            "Nasion": (0, 9, 0),
        }
        rows = [("", i + 1, 0, place) for i, place in enumerate(places)]
        rows += [(name, n + 1 + i, 2, place) for i, (name, place) in enumerate(fiducials.items())]
        text = "".join(
            f"<sensor><name>{name}</name><number>{number}</number><type>{kind}</type>"
            f"<x>{place[0]}</x><y>{place[1]}</y><z>{place[2]}</z></sensor>".replace("<name></name>", "")
            for name, number, kind, place in rows
        )
        xml("coordinates", "coordinates", f"<sensorLayout><sensors>{text}</sensors></sensorLayout>")
    return path


def write_bti(
    folder: Path, data: np.ndarray, sfreq: int, places: np.ndarray, normals: np.ndarray, upb=1e-14, fiducials=None
) -> Path:
    """BTi/4D: int16 samples of magnetometers A1, A2, ... (tesla in) in `c,rfDC`, their coils in `config`; `hs_file`.

    Coils and fiducials (nasion, left, right) are in the 4D head frame (x to the nasion, y to the left), metres; the
    file's transform from device to head is the identity.
    """
    n, n_times = data.shape
    scaled = np.eye(4)
    scaled[3, :3] = 1.0  # the last row holds the scales of the axes
    content = bytearray(struct.pack(">h32s16shihhffhhh2xI32s", 1, b"", b"", 0, 0, 50, n, 1.0, 1.0, 1, 2, 0, 0, b""))
    content += scaled.astype(">f8").tobytes()
    for kind, space in (
        (b"B_E_table_used", struct.pack(">3i16si28s", 2, 0, 0, b"", 0, b"")),
        (b"B_weights_used", struct.pack(">iII32s80sII72s", 2, 0, 0, b"", b"", 0, 0, b"")),
    ):
        content += struct.pack(">I20si32sII32s", 0, kind, 0, b"", 0, len(space), b"")
        content += bytes(-len(content) % 8) + space
        content += bytes(-len(content) % 8)
    for i in range(n):
        first = np.cross(normals[i], [1.0, 0.3, 0.2])
        first /= np.linalg.norm(first)
        coil = np.eye(4)
        coil[:3, :3] = np.stack([first, np.cross(normals[i], first), normals[i]], axis=1)
        coil[:3, 3] = places[i]
        coil[3, :3] = 1.0
        content += struct.pack(">16shHh2xff16sdi32s", f"A{i + 1}".encode(), i, 1, i, 1.0, upb, b"T", 0.0, 0, b"")
        content += bytes(-len(content) % 8)
        content += struct.pack(">ii32sf4s", 0, 0, b"", 0.0, b"") + coil.astype(">f8").tobytes()
        content += struct.pack(">hh4x32s", 0, 0, b"")
        content += bytes(-len(content) % 8)
    (folder / "config").write_bytes(content)

    body = bytearray(np.rint(data.T / upb).astype(">i2").tobytes())
    body += bytes(-len(body) % 8)
    start = len(body)
    body += struct.pack(">h5s1xhhiiiif16sih2x", 1, b"", 1, 0, 1, 0, 0, 0, 1 / sfreq, b"", 1, n)
    body += struct.pack(">iihhi20x", 0, 0, 0, 0, 0)
    body += bytes(-len(body) % 8)
    body += struct.pack(">ifffiii28x", n_times, n_times / sfreq, 0, 0, 0, 0, 0)
    for i in range(n):
        body += struct.pack(">16shhf16sh6xddii4sf24x", f"A{i + 1}".encode(), i, 0, 1.0, b"T", 0, 0, 0, i, 0, b"", 0)
    body += struct.pack(">i20si32si256si32x", 0, b"x", 0, b"", 1577966400, b"", 0)
    body += bytes(-len(body) % 8) + struct.pack(">q", start)
    (folder / "c,rfDC").write_bytes(body)
    if fiducials is not None:
        nasion, left, right = fiducials
        points = np.array([left, right, nasion, [0, 0, 0.1], [0, 0, 0.1]], ">f8")
        (folder / "hs_file").write_bytes(struct.pack(">4i", 1, 0, 0, 0) + points.tobytes())
    return folder / "c,rfDC"


def write_curry(
    path: Path, data: np.ndarray, names: Sequence[str], sfreq: int, places: np.ndarray, event=3, unit="uV", trials=()
) -> Path:
    """Curry 8: float32 values in .cdt, parameters in .cdt.dpa, one event of type 7 in .cdt.cef; places in mm.

    `trials` are the types of equal epochs that the file is cut into.
    """
    n, n_times = data.shape
    n_trials = max(1, len(trials))
    data.T.astype("<f4").tofile(path)

    def listed(name: str, lines: Sequence[str]) -> str:
        body = "\n".join(lines)
        return f"\n{name} START\n   ListType = 1\n{name} END\n\n{name} START_LIST\n{body}\n{name} END_LIST\n"

    values = {
        "FileVersion": 804, "NumSamples": n_times // n_trials, "NumChannels": n, "NumTrials": n_trials,
        "SampleFreqHz": sfreq,
        "TriggerOffsetUsec": 0, "DataFormat": "FLOAT", "DataByteOrder": "INTEL", "DataSampOrder": "SAMP",
        "SampleTimeUsec": 10**6 / sfreq, "StartYear": 2020, "StartMonth": 1, "StartDay": 2, "StartHour": 12,
        "StartMin": 0, "StartSec": 0, "StartMillisec": 0, "AmplifierInfo": "",
    }  # fmt: skip
    text = "\n".join(f"   {key:<20} = {value}" for key, value in values.items())
    text += (
        f"\nDEVICE_PARAMETERS EEG START\n   DataUnit = {unit}\n   NumChanThisGroup = {n}\nDEVICE_PARAMETERS EEG END\n"
    )
    text += listed("LABELS", names) + listed("SENSORS", ["\t".join(f"{x:.3f}" for x in place) for place in places])
    text += listed("IMPEDANCE_VALUES", ["-1 " * n])
    text += listed("EPOCH_LABELS", [f"kind{kind}" for kind in trials]) if trials else ""
    text += listed("EPOCH_INFORMATION", [f"1 0 {kind} 1 1 0 0" for kind in trials])
    path.with_name(path.name + ".dpa").write_text(text)
    row = f"{event} 0 7 0 {event} {event} 0 0 0 0 0"
    path.with_name(path.name + ".cef").write_text(listed("NUMBER_LIST", [row]) + listed("REMARK_LIST", ["tone"]))
    return path


def write_edf_plus(
    path, microvolts, sfreq, annotations=(), starts=None, kind="EDF+C", unit="uV", labels=("Fp1", "C3", "O2")
):
    """EDF+ with records of 1 s; `starts` are their times, `annotations` are (onset, bytes, duration)."""

    def column(values, width):
        return b"".join(str(value).encode("latin-1")[:width].ljust(width) for value in values)

    n, records = len(microvolts), microvolts.shape[1] // sfreq
    starts = range(records) if starts is None else starts
    head = b"0".ljust(8) + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80) + b"01.01.2010.00.00"
    head += column([256 * (n + 2)], 8) + column([kind], 44) + column([records, 1], 8) + column([n + 1], 4)
    head += column([*labels[:n], "EDF Annotations"], 16) + column([""] * (n + 1), 80) + column([unit] * n + [""], 8)
    head += column([-3276.8] * n + [-1], 8) + column([3276.7] * n + [1], 8)
    head += column([-32768] * (n + 1), 8) + column([32767] * (n + 1), 8) + column([""] * (n + 1), 80)
    head += column([sfreq] * n + [60], 8) + column([""] * (n + 1), 32)
    body = b""
    for number, start in enumerate(starts):
        said = f"+{start}\x14\x14\0".encode()
        for onset, text, *duration in annotations:
            if start <= onset < start + 1:
                lasts = f"\x15{duration[0]:g}".encode() if duration else b""
                said += f"+{onset:g}".encode() + lasts + b"\x14" + text + b"\x14\0"
        piece = microvolts[:, number * sfreq : (number + 1) * sfreq]
        body += np.round(piece * 10).astype("<i2").tobytes() + said.ljust(120, b"\0")
    path.write_bytes(head + body)
    return path
