"""Shared fixtures: the folder of real recordings (tests that need it are skipped where it is absent) and one thread."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.made import MeanModel, MemoryCorpus

    from brainof.recording import Recording

REAL_DATA = Path(os.environ.get("BRAINOF_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return  # this process runs no test, and need not wait for torch
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.DEBUG)  # torch writes hundreds of such lines about each checkpoint
    gc.set_threshold(100_000, 50, 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest (demo, site, docs) come first, so that none is left over for one worker at the end."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


def pytest_collection_finish() -> None:
    """What is imported and collected stays: the garbage collector need not look through it again in every test."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """pytest collects five times at its end: once is enough."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real recordings are not at {REAL_DATA} (set BRAINOF_REAL_DATA)")
    return REAL_DATA


@pytest.fixture(scope="session")
def make() -> Callable[..., Recording]:
    """Build a Recording from an array."""
    from tests.made import recording

    return recording


RECIPE = """\
name: toy
title: Toy
modality: eeg
license: CC0-1.0
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
  state: {label: state}
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


@pytest.fixture
def memory_corpus() -> type[MemoryCorpus]:
    from tests.made import MemoryCorpus

    return MemoryCorpus


@pytest.fixture
def mean_model() -> MeanModel:
    from tests.made import MeanModel

    return MeanModel()


@pytest.fixture
def rest_and_task():
    """Twelve people, two files each of six 2 s windows; an alpha rhythm of channel 0 is stronger in the second file."""
    from tests.made import MemoryCorpus, eeg_channels

    def make(effect: float = 3.0, n_people: int = 12, seed: int = 0) -> MemoryCorpus:
        rng = np.random.default_rng(seed)
        times = np.arange(256) / 128
        windows, rows = [], []
        for person in range(n_people):
            for condition in ("rest", "task"):
                for number in range(6):
                    window = rng.standard_normal((4, 256))
                    strength = 1 + (effect if condition == "task" else 0)
                    window[0] += strength * np.sin(2 * np.pi * 10 * times + rng.uniform(0, 6))
                    windows.append(window.astype(np.float32))
                    rows.append(
                        {
                            "dataset": "made",
                            "modality": "eeg",
                            "subject": f"{person:02d}",
                            "recording": f"{person:02d}-{condition}",
                            "onset": 2.0 * number,
                            "sfreq": 128.0,
                            "channel_set": "four",
                            "label.condition": condition,
                            "label.age": str(20 + person),
                        }
                    )
        return MemoryCorpus(windows, rows, {"four": eeg_channels()})

    return make
