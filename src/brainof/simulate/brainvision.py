"""Writes BrainVision files (Core Data Format 1.0): float32 microvolts, multiplexed, with markers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..recording import EVENT_COLUMNS, Recording

_HEADER = """Brain Vision Data Exchange Header File Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile={stem}.eeg
MarkerFile={stem}.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels={n_channels}
DataPoints={n_times}
SamplingInterval={interval:.10g}

[Binary Infos]
BinaryFormat=IEEE_FLOAT_32

[Channel Infos]
{channels}
"""

_MARKERS = """Brain Vision Data Exchange Marker File, Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile={stem}.eeg

[Marker Infos]
{markers}
"""


def write_brainvision(recording: Recording, path: Path) -> None:
    """Write `path` (.vhdr) with its .eeg and .vmrk.

    Parameters
    ----------
    recording : Recording
        EEG in volts; events become markers of type Comment.
    path : Path
        Its name must end in .vhdr.
    """
    stem = path.name.removesuffix(".vhdr")
    rows = [f"Ch{i + 1}={name},,1,µV" for i, name in enumerate(recording.channels.names)]
    microvolts = np.multiply(recording.data.T, 1e6, dtype=np.float32, order="C")
    microvolts.astype("<f4", copy=False).tofile(path.with_name(f"{stem}.eeg"))
    markers = ["Mk1=New Segment,,1,1,0"]
    columns = (recording.events[name].tolist() for name in EVENT_COLUMNS)
    for number, (onset, duration, kind) in enumerate(zip(*columns, strict=True), start=2):
        sample = round(onset * recording.sfreq) + 1
        length = max(1, round(duration * recording.sfreq))
        markers.append(f"Mk{number}=Comment,{kind},{sample},{length},0")
    path.with_name(f"{stem}.vmrk").write_text(_MARKERS.format(stem=stem, markers="\n".join(markers)), encoding="utf-8")
    path.write_text(
        _HEADER.format(
            stem=stem,
            n_channels=recording.n_channels,
            n_times=recording.n_times,
            interval=1e6 / recording.sfreq,
            channels="\n".join(rows),
        ),
        encoding="utf-8",
    )
