"""Bad electrodes estimated from the good ones, by MNE's spherical splines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import RecordingError, check_known
from ..recording import Recording


def interpolate(recording: Recording, names: Sequence[str] | None = None) -> Recording:
    """The recording with the channels `names` estimated from all others that are not bad, by MNE's spherical splines.

    EEG with positions in the head frame; by default `bads` are replaced and taken off `bads`.

    Raises RecordingError: not EEG, an unknown channel, a channel without position, or fewer than four good channels.
    """
    names = recording.bads if names is None else tuple(names)
    file, channels = recording.file, recording.channels
    if recording.modality != "eeg":
        fix = "leave them bad: the model masks them"
        raise RecordingError(f"{recording.modality} is not interpolated", file=file, field="modality", fix=fix)
    for name in names:
        check_known(name, channels.names, RecordingError, "no channel {!r}", file=file)
    left = tuple(name for name in recording.bads if name not in names)
    used = [row for row, name in enumerate(channels.names) if name not in left]
    for row in used:
        if not channels.located[row]:
            fix = f"read it with montage=, or without it: drop={channels.names[row]!r}"
            raise RecordingError("has no position", file=file, field=channels.names[row], fix=fix)
    if not names:
        return recording
    if len(used) - len(names) < 4:
        raise RecordingError(f"{len(used) - len(names)} good channels are too few to interpolate from", file=file)
    picked = recording.pick(used)
    known = np.where(np.isfinite(picked.data), picked.data, 0)  # a broken channel is replaced, not read
    picked = picked.replace(data=known, bads=names, channels=replace(picked.channels, frame="head"))
    raw = picked.to_mne(annotations=False)
    raw.interpolate_bads(reset_bads=True, verbose="error")
    values = recording.data.copy()
    values[used] = raw.get_data().astype(values.dtype)
    note = f"interpolated from the other channels: {', '.join(names)}"
    return recording.replace(data=values, bads=left).noted(note)
