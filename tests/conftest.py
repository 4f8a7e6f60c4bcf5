"""Shared fixtures: the folder of real recordings (tests that need it are skipped where it is absent) and one thread."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from brainof.channels import MODALITY_OF_TYPE, Channels
from brainof.recording import Recording
from brainof.signals import SignalBatch

REAL_DATA = Path(os.environ.get("BRAINOF_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
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


class MemoryCorpus:
    """The reading side of a Corpus, over a list of windows and rows."""

    def __init__(self, windows: list[np.ndarray], rows: list[dict], channels: dict[str, Channels]) -> None:
        self.windows, self.tables, self.datasets = windows, channels, {}
        defaults = {"session": None, "task": None, "run": None, "view": "pretrain", "onset": 0.0}
        self.index = pd.DataFrame([{**defaults, **row} for row in rows])
        self.index["n_channels"] = [len(window) for window in windows]
        self.index["n_times"] = [window.shape[1] for window in windows]

    def read(self, row: int) -> np.ndarray:
        return self.windows[row]

    def channels(self, digest: str) -> Channels:
        return self.tables[digest]

    def batch(self, rows: list[int], patch: int = 64) -> SignalBatch:
        first = self.index.iloc[rows[0]]
        windows = [self.windows[row] for row in rows]
        return SignalBatch.from_arrays(
            windows, self.tables[first["channel_set"]], first["sfreq"], first["modality"], patch
        )


class MeanModel(torch.nn.Module):
    """Latents are the absolute mean of each patch over valid samples and channels, times eight weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 8))
        self.config = SimpleNamespace(patch=64)
        self.sizes: list[int] = []

    def forward_features(self, batch: SignalBatch) -> torch.Tensor:
        assert not self.training
        self.sizes.append(len(batch))
        patches = batch.signal_BCT.unflatten(2, (-1, 64)).abs().mean(dim=(1, 3))
        return patches[:, :, None] * self.weight

    def pool(self, latents: torch.Tensor, kind: str = "auto", modality: str = "") -> torch.Tensor:
        both = torch.cat([latents.mean(1), latents.std(1, correction=0)], 1)
        return {"mean": latents.mean(1), "mean_std": both, "auto": both}[kind]


def eeg_channels(n: int = 4) -> Channels:
    return Channels(names=tuple(f"E{i}" for i in range(n)), types=("eeg",) * n)


@pytest.fixture
def memory_corpus():
    return MemoryCorpus


@pytest.fixture
def mean_model() -> MeanModel:
    return MeanModel()


@pytest.fixture
def rest_and_task():
    """Twelve people, two files each of six 2 s windows; an alpha rhythm of channel 0 is stronger in the second file."""

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
