from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from brainof.channels import Channels
from brainof.explain import Explained
from brainof.inference.examples import PreparedWindow, WindowList
from brainof.model import BrainOF


@pytest.fixture(scope="session")
def debug_model() -> BrainOF:
    torch.manual_seed(0)
    return BrainOF.from_preset("debug", pooling="mean_std", rates={"eeg": 256.0, "meg": 256.0}).eval()


@pytest.fixture(scope="session")
def able_model() -> BrainOF:
    """Random weights, but latents that follow the spectrum of the signal: a probe finds what is planted."""
    torch.manual_seed(0)
    return BrainOF.from_preset("per_output", backbone={"depth": 1}).eval()


def eeg_table(n: int = 6) -> Channels:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    positions = np.stack([0.08 * np.cos(angle), 0.08 * np.sin(angle), np.full(n, 0.07)], axis=1)
    return Channels(tuple(f"E{i}" for i in range(n)), ("eeg",) * n, positions=positions, frame="head")


@pytest.fixture(scope="session")
def planted():
    """Windows of 2 s of `n_subjects` in which channel E2 is louder in one class, between 8 and 13 Hz, in one second."""

    def make(effect: float = 4.0, n_subjects: int = 7, per_subject: int = 6, seed: int = 0) -> Explained:
        rng, channels = np.random.default_rng(seed), eeg_table()
        times = np.arange(256) / 128
        windows, y, subjects = [], [], []
        for subject in range(n_subjects):
            for number in range(per_subject):
                label = number % 2
                data = rng.standard_normal((6, 256))
                wave = np.sin(2 * np.pi * 10 * times + rng.uniform(0, 6))
                data[2] += effect * label * wave * (times >= 1)
                windows.append(
                    PreparedWindow(
                        data.astype(np.float32), channels, 128.0, "eeg", np.ones(6, bool), {"onset": 2.0 * number}
                    )
                )
                y.append(label)
                subjects.append(f"s{subject}")
        examples, groups = WindowList(windows, 64), np.array(subjects)
        table = pd.DataFrame({"onset": [w.about["onset"] for w in windows], "subject": groups})
        names = ("rest", "task")
        return Explained(
            examples, channels, 128.0, "eeg", "made", table, groups, "subjects", np.array(y), names, "made/task"
        )

    return make
