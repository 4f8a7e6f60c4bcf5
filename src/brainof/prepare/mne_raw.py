"""A Recording as an MNE Raw, for steps that call packages built on MNE."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..recording import Recording


def raw_of(recording: Recording) -> Any:
    """An `mne.io.RawArray` (float64 copy) with types, bad channels and, in the head frame, electrode positions.

    MEG keeps the measurement info of its file where the reader kept it (`Recording.info`); without it only names and
    types are known, and nothing that needs coils can run.
    """
    import mne

    channels = recording.channels
    if recording.info is not None:
        info = recording.info.copy()
        with info._unlock():
            info["sfreq"] = recording.sfreq
    else:
        kinds = ["mag" if kind == "axial" else kind for kind in channels.types]
        info = mne.create_info(list(channels.names), recording.sfreq, kinds, verbose="error")
        if recording.modality == "eeg" and channels.frame == "head" and channels.located.any():
            rows = np.flatnonzero(channels.located)
            places = {channels.names[row]: channels.positions[row] for row in rows}
            info.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), on_missing="ignore")
    info["bads"] = list(recording.bads)
    return mne.io.RawArray(recording.data.astype(np.float64), info, verbose="error")
