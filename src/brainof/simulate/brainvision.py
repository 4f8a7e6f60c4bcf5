"""Writes BrainVision files (Core Data Format 1.0); own code, as the demo needs it and pybv is no core dependency."""

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
    """Write EEG (V) as `path` (.vhdr), its .eeg (float32 microvolts, multiplexed) and .vmrk (events as comments)."""
    stem = path.name.removesuffix(".vhdr")
    microvolts = np.multiply(recording.data.T, 1e6, dtype=np.float32, order="C")
    microvolts.astype("<f4", copy=False).tofile(path.with_name(f"{stem}.eeg"))
    markers = ["Mk1=New Segment,,1,1,0"]
    events = recording.events[list(EVENT_COLUMNS)].itertuples(index=False)
    for number, (onset, duration, kind) in enumerate(events, start=2):
        sample, length = round(onset * recording.sfreq) + 1, max(1, round(duration * recording.sfreq))
        markers.append(f"Mk{number}=Comment,{kind},{sample},{length},0")
    text = _MARKERS.format(stem=stem, markers="\n".join(markers))
    path.with_name(f"{stem}.vmrk").write_text(text, encoding="utf-8")
    header = _HEADER.format(
        stem=stem,
        n_channels=recording.n_channels,
        n_times=recording.n_times,
        interval=1e6 / recording.sfreq,
        channels="\n".join(f"Ch{i}={name},,1,µV" for i, name in enumerate(recording.channels.names, start=1)),
    )
    path.write_text(header, encoding="utf-8")
