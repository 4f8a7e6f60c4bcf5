"""A small batch and model for pretraining tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.model import BrainOF
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
