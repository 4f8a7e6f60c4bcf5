"""Writes BrainVision files (Core Data Format 1.0); own code, as the demo needs it and pybv is no core dependency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..recording import EVENT_COLUMNS, Recording


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
    _fill(path.with_name(f"{stem}.vmrk"), stem=stem, markers="\n".join(markers))
    channels = "\n".join(f"Ch{i}={name},,1,µV" for i, name in enumerate(recording.channels.names, start=1))
    sizes = {"n_channels": recording.n_channels, "n_times": recording.n_times, "interval": 1e6 / recording.sfreq}
    _fill(path, stem=stem, channels=channels, **sizes)


def _fill(path: Path, **blanks: Any) -> None:
    """Write the template of this suffix with its blanks filled."""
    template = Path(__file__).with_name(f"template{path.suffix}").read_text(encoding="utf-8")
    path.write_text(template.format(**blanks), encoding="utf-8")
