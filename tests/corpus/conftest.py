"""Small corpora of random windows, and indexes without windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from brainof.channels import Channels
from brainof.corpus import CorpusWriter
from brainof.corpus.index import COLUMNS, to_frame, to_table

KIND = {"eeg": "eeg", "meg": "mag", "fmri": "roi"}


@dataclass(frozen=True)
class Window:
    data: np.ndarray
    onset: float = 0.0
    labels: Mapping[str, Any] = field(default_factory=dict)
    view: str = "pretrain"


def recording_of(name: str, dataset: str = "demo", modality: str = "eeg", **changes: Any) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "modality": modality,
        "subject": name.split("_")[0],
        "recording": name,
        "config": f"config-{name}",
        "sfreq": 256.0,
    } | changes


def channels_of(n: int, modality: str = "eeg", seed: int = 0) -> Channels:
    positions = np.random.default_rng(seed).normal(0, 0.05, (n, 3))
    return Channels(tuple(f"{modality}{i}" for i in range(n)), (KIND[modality],) * n, positions, frame="head")


def windows_of(seed: int, n: int = 4, n_channels: int = 5, n_times: int = 100) -> list[Window]:
    data = np.random.default_rng(seed).standard_normal((n, n_channels, n_times)).astype(np.float32)
    return [Window(values, 0.5 * i, {"state": f"s{i % 2}"}) for i, values in enumerate(data)]


def index_of(groups: list[dict[str, Any]]) -> Any:
    """An index of `count` windows per group, spread over five people of each group's dataset."""
    rows: dict[str, list[Any]] = {column: [] for column in COLUMNS}
    default = {"shard": "s", "key": "0", "dtype": "float16", "crc32c": 0, "config": "c", "view": "pretrain"}
    default |= {"onset": 0.0, "sfreq": 256.0, "channel_set": "x", "good": "1", "n_channels": 4, "n_times": 128}
    for group in groups:
        for i in range(group["count"]):
            row = default | {"subject": f"p{i % 5}", "recording": f"r{i % 5}"} | group
            for column in COLUMNS:
                rows[column].append(row.get(column))
    return to_frame([to_table(rows)])


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The makers of this file."""
    return SimpleNamespace(
        Window=Window, recording=recording_of, channels=channels_of, windows=windows_of, index=index_of
    )


@pytest.fixture
def corpus_root(tmp_path: Path) -> Path:
    """A corpus of 6 recordings of 4 windows (5 channels, 100 samples) in 3 shards; recording i has seed i."""
    root = tmp_path / "corpus"
    with CorpusWriter(root, shard_bytes=2 * 4 * 5 * 100 * 2) as writer:
        writer.add_dataset("demo", {"license": "CC0"})
        for i in range(6):
            writer.add(recording_of(f"p{i}_rest"), channels_of(5), windows_of(i), np.arange(5) != i)
    return root


@pytest.fixture
def shard_files(corpus_root: Path) -> Callable[[], list[Path]]:
    return lambda: sorted((corpus_root / "shards").glob("*.safetensors"))
