"""Small batches of every modality, from random signals on random layouts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from brainof.channels import Channels
from brainof.model import BrainOF
from brainof.signals import SignalBatch

TYPE = {"eeg": "eeg", "meg": "mag", "fmri": "roi"}
RATE = {"eeg": 128.0, "meg": 128.0, "fmri": 0.5}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_batch() -> Callable[..., SignalBatch]:
    def make(modality="eeg", windows=2, channels=5, patches=3, located=True, lengths=None, patch=64) -> SignalBatch:
        rng = np.random.default_rng(channels)
        table = Channels(
            tuple(f"channel {i}" for i in range(channels)),
            (TYPE[modality],) * channels,
            positions=rng.normal(0, 0.05, (channels, 3)) if located else None,
            orientations=rng.normal(0, 1, (channels, 3)) if modality == "meg" else None,
            order=np.arange(channels) if modality == "fmri" else None,
            frame="head",
        )
        lengths = lengths or [patches * patch] * windows
        signals = [rng.normal(0, 1, (channels, length)) for length in lengths]
        return SignalBatch.from_arrays(signals, table, RATE[modality], modality, patch)

    return make


@pytest.fixture
def debug() -> Callable[..., BrainOF]:
    """A debug model in float64 that is not in train mode; LayerScale is large, so that branches can be seen."""

    def make(**overrides) -> BrainOF:
        merged = {**overrides, "backbone": {"layer_scale": 0.5, **overrides.get("backbone", {})}}
        return BrainOF.from_preset("debug", **merged).double().eval()

    return make
