"""Steps that deal with broken values: non-finite samples and bad channels."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ..errors import RecordingError
from ..recording import Recording
from ..utils.memory import map_rows
from ..utils.optional import optional
from .steps import Step, good_rows, robust_centre_and_scale, rows_by_type, with_bads


class Repair(Step):
    """Make every sample finite, take out each channel's mean and go to float32.

    Comes first, because a filter spreads one NaN over thousands of samples, and because float32 holds the small
    changes of a signal only once its large constant is gone. Gaps of non-finite samples up to `max_gap` seconds are
    bridged linearly (a single sample always is); a channel with a longer gap is marked bad and set to zero.
    """

    name: ClassVar[str] = "repair"
    max_gap: float = Field(default=0.1, ge=0)

    def apply(self, recording: Recording) -> Recording:
        longest = max(1, round(self.max_gap * recording.sfreq))
        broken: list[int] = []
        repaired = 0

        def repair(values: np.ndarray, rows: slice) -> np.ndarray:
            nonlocal repaired
            means = values.mean(axis=1, dtype=np.float64)
            if np.isfinite(means).all():  # a mean is finite only if all samples are
                return values - means[:, None]
            values = values.copy()
            for row in np.flatnonzero(~np.isfinite(means)):
                missing = ~np.isfinite(values[row])
                if missing.all() or longest_run(missing) > longest:
                    broken.append(rows.start + row)
                    values[row] = 0.0
                else:
                    known = np.flatnonzero(~missing)
                    values[row, missing] = np.interp(np.flatnonzero(missing), known, values[row, known])
                    repaired += int(missing.sum())
            return values - values.mean(axis=1, dtype=np.float64, keepdims=True)

        data = map_rows(repair, recording.data)
        statistics = {"repaired_samples": repaired, "not_finite": [recording.channels.names[row] for row in broken]}
        return self.done(recording, statistics, data=data, bads=with_bads(recording, broken))


class BadChannels(Step):
    """Mark channels bad whose robust amplitude is out of line with the other channels of their type.

    Flat: below `flat` times the median amplitude of the type, or exactly constant. Loud: above `loud` times it, judged
    only where at least `min_channels` channels of the type are there to compare with. Bad channels keep their place;
    `normalise` sets them to zero and the corpus masks them. (Regions of fMRI are judged by `normalise`.)

    With `method: prep` EEG channels are judged as in the PREP pipeline instead (see `prep_bads`; extra `quality`).
    """

    name: ClassVar[str] = "bad_channels"
    flat: float = Field(default=0.01, ge=0, lt=1)
    loud: float = Field(default=10.0, gt=1)
    min_channels: int = Field(default=8, ge=2)
    method: Literal["amplitude", "prep"] = "amplitude"
    ransac: bool = False

    def apply(self, recording: Recording) -> Recording:
        if self.method == "prep":
            found = prep_bads(recording, self.ransac)
            named = [recording.channels.names.index(name) for names in found.values() for name in names]
            return self.done(recording, found, bads=with_bads(recording, named))
        step = max(1, recording.n_times // 20_000)  # factors of ten need no more samples than this
        flat, loud = [], []
        for rows in rows_by_type(recording, good_rows(recording)).values():
            _, scales = robust_centre_and_scale(recording.data, rows, step)
            middle = np.median(scales) if len(scales) else 0.0
            flat += rows[(scales == 0) | (scales < self.flat * middle)].tolist()
            if len(rows) >= self.min_channels:
                loud += rows[scales > self.loud * middle].tolist()
        names = recording.channels.names
        statistics = {"flat": [names[row] for row in flat], "loud": [names[row] for row in loud]}
        return self.done(recording, statistics, bads=with_bads(recording, flat + loud))


def prep_bads(recording: Recording, ransac: bool) -> dict[str, list[str]]:
    """Criterion -> names of the channels that fail it.

    Deviation, correlation, drop-outs and (where asked for) RANSAC of Bigdely-Shamlo et al., Frontiers in
    Neuroinformatics 9:16 (2015). The criteria on high frequencies are left out: this runs behind the band-pass.

    Raises RecordingError: not EEG, or RANSAC without positions; DependencyError: PyPREP is not installed.
    """
    file, channels = recording.file, recording.channels
    if recording.modality != "eeg":
        raise RecordingError(f"PREP judges EEG, not {recording.modality}", file=file, field="bad_channels.method")
    if ransac and not channels.located.all():
        missing = np.array(channels.names)[~channels.located].tolist()
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
    found = {
        "flat": [*judge.bad_by_nan, *judge.bad_by_flat],
        "deviation": judge.bad_by_deviation,
        "correlation": judge.bad_by_correlation,
        "dropout": judge.bad_by_dropout,
        "ransac": judge.bad_by_ransac,
    }
    return {reason: sorted(set(map(str, names)) - {*recording.bads}) for reason, names in found.items()}


def longest_run(flags: np.ndarray) -> int:
    """Length of the longest run of True in a 1-D bool array."""
    edges = np.diff(np.concatenate(([False], flags, [False])).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return int((stops - starts).max(initial=0))
