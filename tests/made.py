"""What fixtures make: recordings, a corpus in memory, a model whose latents are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from brainof.channels import MODALITY_OF_TYPE, Channels
from brainof.recording import Recording
from brainof.signals import SignalBatch


def recording(data: np.ndarray, sfreq: float = 256.0, kind: str | tuple[str, ...] = "eeg", **changes) -> Recording:
    types = (kind,) * len(data) if isinstance(kind, str) else kind
    names = tuple(f"c{row}" for row in range(len(data)))
    return Recording(np.asarray(data), sfreq, MODALITY_OF_TYPE[types[0]], Channels(names, types), **changes)


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
