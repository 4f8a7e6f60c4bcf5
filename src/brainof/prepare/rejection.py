"""Stretches that autoreject would drop, marked so that no window touches them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from ..recording import Recording
from ..utils.optional import optional
from .steps import Step, good_rows, refuse_too_short


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
