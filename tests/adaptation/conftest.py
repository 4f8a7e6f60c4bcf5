"""Made windows of two classes that a random backbone can tell apart, from several people."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.adaptation import PreparedWindow, Target, WindowList
from brainof.channels import Channels
from brainof.model import BrainOF


def made_windows(n_people: int = 6, each: int = 6, n_times: int = 128, seed: int = 0):
    """Windows, labels and people: an alpha rhythm in one of the classes."""
    rng = np.random.default_rng(seed)
    channels = Channels(("Fz", "Cz", "Pz"), ("eeg",) * 3, rng.uniform(-0.08, 0.08, (3, 3)), frame="head")
    windows, labels, people = [], [], []
    time = np.arange(n_times) / 128
    for person in range(n_people):
        for number in range(each):
            data = rng.standard_normal((3, n_times))
            if number % 2:
                data[0] += 3 * np.sin(2 * np.pi * 10 * time + rng.uniform(0, 6))
            windows.append(PreparedWindow(data.astype(np.float32), channels, 128.0, "eeg", np.ones(3, bool)))
            labels.append("task" if number % 2 else "rest")
            people.append(f"p{person}")
    return windows, np.array(labels), np.array(people)


@pytest.fixture
def examples() -> WindowList:
    return WindowList(made_windows()[0], patch=64)


@pytest.fixture
def target() -> Target:
    _, labels, people = made_windows()
    return Target.classes(labels, people)


@pytest.fixture
def model() -> BrainOF:
    torch.manual_seed(0)
    return BrainOF.from_preset("debug").eval()
