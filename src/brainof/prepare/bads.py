"""Broken values: non-finite samples, bad channels (found, or estimated from the good ones) and bad stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from ..errors import RecordingError, check_known
from ..recording import Recording
from ..utils.memory import map_rows
from ..utils.optional import optional
from .steps import Step, good_rows, refuse_too_short, robust_centre_and_scale, rows_by_type, with_bads


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


class AutoReject(Step):
    """Annotate stretches of `length` seconds as BAD_autoreject, which no window touches, by one peak-to-peak threshold
    per sensor type, learnt by cross-validation. Nothing is interpolated. Jas et al., NeuroImage 159:417 (2017)."""

    name: ClassVar[str] = "autoreject"
    only: ClassVar[tuple[str, ...]] = ("eeg", "meg")
    length: float = Field(default=2.0, gt=0)

    def apply(self, recording: Recording) -> Recording:
        package = optional("autoreject", "quality", "autoreject")
        import mne

        n_times = max(2, round(self.length * recording.sfreq))
        refuse_too_short(recording, 10 * n_times, "autoreject, which learns from at least 10 stretches")
        raw = recording.to_mne(annotations=False).pick(list(np.array(recording.channels.names)[good_rows(recording)]))
        with mne.use_log_level("error"):
            seconds = n_times / recording.sfreq
            epochs = mne.make_fixed_length_epochs(raw, seconds, preload=True)
            thresholds = package.get_rejection_threshold(epochs, random_state=0, verbose=False)
        bad = np.zeros(len(epochs), dtype=bool)
        for kind, threshold in thresholds.items():
            rows = mne.pick_types(epochs.info, meg=kind if kind in ("mag", "grad") else False, eeg=kind == "eeg")
            bad |= (np.ptp(epochs.get_data(picks=rows, copy=False), axis=2) > threshold).any(axis=1)
        onsets = np.flatnonzero(bad) * seconds
        marks = pd.DataFrame({"onset": onsets, "duration": seconds, "trial_type": f"BAD_{self.name}"})
        events = pd.concat([recording.events, marks], ignore_index=True) if len(marks) else recording.events
        found = {kind: float(value) for kind, value in thresholds.items()}
        return self.done(recording, {"threshold": found, "stretches": len(bad), "rejected": len(marks)}, events=events)


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
