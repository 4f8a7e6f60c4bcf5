"""Fitting a probe on 500 windows of 64 channels x 4 s with `tiny`, and what caching saves in cross-validation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import GroupKFold, cross_val_score

from brainof import BrainOFClassifier
from brainof.io.positions import electrode_positions

WINDOWS, CHANNELS, SFREQ, SECONDS = 500, 64, 256.0, 4.0


def run() -> Iterator[tuple[str, float, str]]:
    import mne

    rng = np.random.default_rng(0)
    known = mne.channels.make_standard_montage("standard_1005").ch_names
    names = [name for name in known if np.isfinite(electrode_positions([name])).all()][:CHANNELS]
    X = 2e-5 * rng.standard_normal((WINDOWS, CHANNELS, round(SECONDS * SFREQ)))
    y, groups = np.tile(["rest", "task"], WINDOWS // 2), np.repeat(np.arange(10), WINDOWS // 10)
    with tempfile.TemporaryDirectory() as folder:
        for memory, name in ((None, ""), (folder, "_memory")):
            classifier = BrainOFClassifier("tiny", sfreq=SFREQ, channels=names, memory=memory, random_state=0)
            if memory is None:
                started = time.perf_counter()
                classifier.fit(X, y, groups)
                yield "fit_probe_500_seconds", time.perf_counter() - started, "s"
                continue
            classifier.fit(X[:100], y[:100], groups[:100])  # 100 windows are known now
            for label in ("first", "second"):
                started = time.perf_counter()
                cross_val_score(classifier, X[:100], y[:100], groups=groups[:100], cv=GroupKFold(2))
                yield f"cross_val_100{name}_{label}_seconds", time.perf_counter() - started, "s"
