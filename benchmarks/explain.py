"""Occlusion of each of 64 channels of 200 windows of 4 s with `tiny` on two threads, without nulls."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from brainof.channels import Channels
from brainof.explain import Explained, occlusion
from brainof.inference.examples import PreparedWindow, WindowList
from brainof.model import BrainOF

CHANNELS, WINDOWS, TIMES, SFREQ = 64, 200, 1024, 256.0


def run() -> Iterator[tuple[str, float, str]]:
    """Lines of the benchmark."""
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    positions = rng.uniform(-0.1, 0.1, (CHANNELS, 3))
    names = tuple(f"E{number}" for number in range(CHANNELS))
    channels = Channels(names, ("eeg",) * CHANNELS, positions=positions, frame="head")
    good = np.ones(CHANNELS, bool)
    signals = rng.standard_normal((WINDOWS, CHANNELS, TIMES)).astype(np.float32)
    model = BrainOF.from_preset("tiny")
    windows = [PreparedWindow(signal, channels, SFREQ, "eeg", good) for signal in signals]
    groups = np.arange(WINDOWS).astype(str)
    table = pd.DataFrame({"subject": groups})
    found = Explained(
        WindowList(windows, model.config.patch), channels, SFREQ, "eeg", "noise", table, groups, "windows"
    )
    started, used = time.perf_counter(), time.process_time()
    occlusion(found, model, n_untrained=0)
    yield "occlusion_seconds", time.perf_counter() - started, "s"
    # what the process itself computed: what remains of the seconds where others load the machine
    yield "occlusion_cpu_seconds", time.process_time() - used, "s"
