"""Bad EEG channels as the PREP pipeline judges them, through PyPREP."""

from __future__ import annotations

import numpy as np

from ..errors import RecordingError
from ..recording import Recording
from ..utils.optional import optional


def prep_bads(recording: Recording, ransac: bool) -> dict[str, list[str]]:
    """Criterion -> names of the channels that fail it.

    Deviation, correlation, drop-outs and (where asked for) RANSAC of Bigdely-Shamlo et al., Frontiers in
    Neuroinformatics 9:16 (2015). The criteria on high frequencies are left out: this runs behind the band-pass.

    Raises
    ------
    RecordingError
        Not EEG, or RANSAC without positions.
    DependencyError
        PyPREP is not installed.
    """
    file = recording.file
    if recording.modality != "eeg":
        raise RecordingError(f"PREP judges EEG, not {recording.modality}", file=file, field="bad_channels.method")
    if ransac and not recording.channels.located.all():
        missing = np.array(recording.channels.names)[~recording.channels.located].tolist()
        text = f"RANSAC needs positions, and {', '.join(missing[:5])} have none"
        raise RecordingError(text, file=file, field="bad_channels.ransac", fix="leave ransac out")
    pyprep = optional("pyprep", "quality", "bad_channels: {method: prep}")
    import mne

    with mne.use_log_level("error"):
        judge = pyprep.NoisyChannels(recording.to_mne(annotations=False), random_state=0)
        judge.find_bad_by_deviation()
        judge.find_bad_by_correlation()
        if ransac:
            judge.find_bad_by_ransac()
    known = set(recording.bads)
    found = {
        "flat": [*judge.bad_by_nan, *judge.bad_by_flat],
        "deviation": judge.bad_by_deviation,
        "correlation": judge.bad_by_correlation,
        "dropout": judge.bad_by_dropout,
        "ransac": judge.bad_by_ransac,
    }
    return {reason: sorted({str(name) for name in names} - known) for reason, names in found.items()}
