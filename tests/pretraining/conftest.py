"""A small batch and model for pretraining tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.corpus import CorpusWriter
from brainof.model import BrainOF
from brainof.prepare import Window, default_chain
from brainof.signals import SignalBatch


@pytest.fixture
def make_batch():
    def make(
        modality: str = "eeg", n_windows: int = 4, n_channels: int = 6, lengths=None, seed: int = 0
    ) -> SignalBatch:
        rng = np.random.default_rng(seed)
        kind = {"eeg": "eeg", "meg": "mag", "fmri": "roi"}[modality]
        order = np.arange(n_channels) if modality == "fmri" else None
        names = tuple(f"c{i}" for i in range(n_channels))
        channels = Channels(
            names, (kind,) * n_channels, positions=rng.uniform(-0.1, 0.1, (n_channels, 3)), order=order, frame="head"
        )
        windows = [rng.standard_normal((n_channels, length)) for length in lengths or (256,) * n_windows]
        return SignalBatch.from_arrays(windows, channels, 0.5 if modality == "fmri" else 256.0, modality, patch=64)

    return make


@pytest.fixture
def model() -> BrainOF:
    torch.manual_seed(0)
    return BrainOF.from_preset("debug")


@pytest.fixture
def power_cut():
    """Makes the step after `done` steps fail."""
    from brainof.pretraining import trainer

    original = trainer.learning_rate

    def cut(monkeypatch, done: int) -> None:
        def failing(step, schedule):
            if step == done:
                raise RuntimeError("power cut")
            return original(step, schedule)

        monkeypatch.setattr(trainer, "learning_rate", failing)

    return cut


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Three modalities whose channels are smooth mixtures of a few rhythms, so that hidden patches can be predicted."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    with CorpusWriter(root) as writer:
        for modality, kind, sfreq, n_channels in (
            ("eeg", "eeg", 256.0, 8),
            ("meg", "mag", 256.0, 10),
            ("fmri", "roi", 0.5, 12),
        ):
            positions = rng.uniform(-0.1, 0.1, (n_channels, 3))
            order = np.arange(n_channels) if modality == "fmri" else None
            names = [f"{modality}{i}" for i in range(n_channels)]
            channels = Channels(names, (kind,) * n_channels, positions=positions, order=order, frame="head")
            writer.add_dataset(f"sim-{modality}", {"steps": default_chain(modality).to_steps()})
            for subject in range(6):
                row = {"dataset": f"sim-{modality}", "modality": modality, "subject": str(subject), "sfreq": sfreq}
                row |= {"recording": f"{modality}-{subject}", "config": f"{modality}-{subject}"}
                windows = [Window(data, float(k), {}, "pretrain") for k, data in enumerate(smooth(rng, positions, 8))]
                writer.add(row, channels, windows)
    return root


def smooth(rng, positions, n_windows: int, n_times: int = 256):
    """Windows (n_channels, n_times): each channel sees four rhythmic sources through a smooth function of its place."""
    places = rng.uniform(-0.1, 0.1, (4, 3))
    gain = np.exp(-(((positions[:, None] - places) / 0.08) ** 2).sum(-1))
    time_axis = np.arange(n_times) / 256
    for _ in range(n_windows):
        rates, phases = rng.uniform(2, 12, (4, 1)), rng.uniform(0, 2 * np.pi, (4, 1))
        data = gain @ np.sin(2 * np.pi * rates * time_axis + phases)
        yield (data / data.std() + 0.1 * rng.standard_normal(data.shape)).astype(np.float32)
