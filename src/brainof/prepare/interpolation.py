"""Bad electrodes estimated from the good ones, by MNE's spherical splines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import RecordingError
from ..recording import Recording


def interpolate(recording: Recording) -> Recording:
    """The recording with its bad channels estimated from all others, by MNE's spherical splines; none is bad then.

    EEG with positions in the head frame.

    Raises RecordingError: not EEG, a channel without position, or fewer than four good channels.
    """
    file, channels, bads = recording.file, recording.channels, recording.bads
    if recording.modality != "eeg":
        fix = "leave them bad: the model masks them"
        raise RecordingError(f"{recording.modality} is not interpolated", file=file, field="modality", fix=fix)
    for name, located in zip(channels.names, channels.located, strict=True):
        if not located:
            fix = f"read it with montage=, or without it: drop={name!r}"
            raise RecordingError("has no position", file=file, field=name, fix=fix)
    if not bads:
        return recording
    good = len(channels) - len(bads)
    if good < 4:
        raise RecordingError(f"{good} good channels are too few to interpolate from", file=file)
    known = np.where(np.isfinite(recording.data), recording.data, 0)  # a broken channel is replaced, not read
    raw = recording.replace(data=known, channels=replace(channels, frame="head")).to_mne(annotations=False)
    raw.interpolate_bads(reset_bads=True, verbose="error")
    values = raw.get_data().astype(recording.data.dtype)
    note = f"interpolated from the other channels: {', '.join(bads)}"
    return recording.replace(data=values, bads=()).noted(note)
