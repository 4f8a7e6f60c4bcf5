"""Small recordings and dataset folders for the tests of the prepare room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainof.channels import MODALITY_OF_TYPE, Channels
from brainof.recording import Recording


def _make(data: np.ndarray, sfreq: float = 256.0, kind: str | tuple[str, ...] = "eeg", **changes) -> Recording:
    types = (kind,) * len(data) if isinstance(kind, str) else kind
    names = tuple(f"c{row}" for row in range(len(data)))
    return Recording(np.asarray(data), sfreq, MODALITY_OF_TYPE[types[0]], Channels(names, types), **changes)


@pytest.fixture(scope="session")
def make() -> Callable[..., Recording]:
    """Build a Recording from an array."""
    return _make


RECIPE = """\
name: toy
title: Toy
modality: eeg
licence: CC0-1.0
citation: none
files:
  - pattern: "sub-{subject}/run-{run}.npz"
read: {variable: eeg, time_axis: 1, units: uV, sfreq: 128, channel_names: [Fp1, Fp2, Cz, Oz], events_variable: marker}
events: {values: {1: tone, 2: click}}
windows: {length: 2}
labels:
  state: {entity: run, values: {1: rest, 2: task}}
  group: {table: participants.tsv, key: {participant_id: "sub-{subject}"}, column: group}
  sound: {event: trial_type}
tasks:
  state: {label: state, positive: task}
  sounds: {label: sound, windows: {events: all, tmin: 0, tmax: 1}}
"""


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Path, Path]:
    """(recipe file, root) of a generated dataset: 3 subjects x 2 runs x 4 channels x 10 s."""
    root, generator = tmp_path / "data", np.random.default_rng(0)
    marker = np.zeros(1280, np.int8)
    marker[[200, 700]] = 1, 2
    for subject in ("01", "02", "03"):
        for run in ("1", "2"):
            (root / f"sub-{subject}").mkdir(parents=True, exist_ok=True)
            signal = generator.standard_normal((4, 1280)).astype(np.float32) * 20
            np.savez(root / f"sub-{subject}" / f"run-{run}.npz", eeg=signal, marker=marker)
    (root / "participants.tsv").write_text("participant_id\tgroup\nsub-01\ta\nsub-02\tb\nsub-03\ta\n")
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(RECIPE)
    return recipe, root
