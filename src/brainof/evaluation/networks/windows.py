"""Small networks on windows (B, C, T) that no library keeps, as their publications describe them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _encoder(width: int, heads: int, depth: int, dropout: float = 0.1) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


def _convolved(inside: int, outside: int, size: int) -> list[nn.Module]:
    """A convolution over time, normalised, and a quarter of the samples."""
    layer = nn.Conv1d(inside, outside, size, padding=size // 2)
    return [layer, nn.BatchNorm1d(outside), nn.ELU(), nn.MaxPool1d(4)]


class CNNTransformer(nn.Module):
    """Convolutions of each second in all channels, then attention over seconds (Peh et al. 2022).

    Source: Peh, Yao & Dauwels, "Transformer convolutional neural networks for automated artifact detection in scalp
    EEG", EMBC 2022. 3.2 million parameters in the tables of BIOT and CBraMod.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, width: int = 256, depth: int = 4) -> None:
        super().__init__()
        self.second = min(n_times, max(16, round(sfreq)))
        self.convolution = nn.Sequential(
            *_convolved(n_chans, 64, 7),
            *_convolved(64, 128, 5),
            nn.Conv1d(128, width, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool1d(1),
        )
        self.position = nn.Parameter(0.02 * torch.randn(n_times // self.second, width))
        self.attention = _encoder(width, 8, depth)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Features (B, width)."""
        seconds = x_BCT.unfold(2, self.second, self.second)  # (B, C, seconds, samples)
        n, count = len(seconds), seconds.shape[2]
        parts = self.convolution(seconds.transpose(1, 2).flatten(0, 1)).view(n, count, -1)
        return self.attention(parts + self.position).mean(1)


class FFCL(nn.Module):
    """Convolutions and an LSTM side by side, their features joined (Li et al. 2022).

    Source: Li, Ding, Zhang & Xiu, "Motor imagery EEG classification algorithm based on CNN-LSTM feature fusion
    network", Biomed. Signal Process. Control 72 (2022). 2.4 million parameters in the tables of BIOT and CBraMod.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, hidden: int = 350, shorten: int = 20) -> None:
        super().__init__()
        self.convolution = nn.Sequential(
            *_convolved(n_chans, 128, 9),
            *_convolved(128, 256, 7),
            nn.Conv1d(256, 256, 5, padding=2),
            nn.ELU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.shorten = max(1, min(shorten, n_times // 8))
        self.recurrent = nn.LSTM(n_chans, hidden, 2, batch_first=True)
        self.join = nn.Sequential(nn.Linear(256 + hidden, 512), nn.ELU(), nn.Dropout(0.3))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Features (B, 512)."""
        means = nn.functional.avg_pool1d(x_BCT, self.shorten).transpose(1, 2)
        return self.join(torch.cat([self.convolution(x_BCT), self.recurrent(means)[0][:, -1]], dim=1))


class STTransformer(nn.Module):
    """Attention over channels, then over time (Song et al. 2021).

    Source: Song, Jia, Yang & Xie, "Transformer-based spatial-temporal feature learning for EEG decoding",
    arXiv:2106.11170. 3.5 million parameters in the tables of BIOT and CBraMod.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, width: int = 256, depth: int = 4) -> None:
        super().__init__()
        length = min(n_times, 100 * (n_times // 100) or n_times)
        self.length, self.patch = length, max(1, length // 20)
        self.space_norm = nn.LayerNorm(length)
        self.query, self.key = nn.Linear(length, 16), nn.Linear(length, 16)
        self.embed = nn.Conv1d(n_chans, width, self.patch, stride=self.patch)
        self.position = nn.Parameter(0.02 * torch.randn(length // self.patch, width))
        self.attention = _encoder(width, 8, depth, 0.3)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Features (B, width)."""
        x = x_BCT[:, :, : self.length]
        normed = self.space_norm(x)
        weights = (self.query(normed) @ self.key(normed).transpose(1, 2) / 4).softmax(-1)
        parts = self.embed(x + weights @ x).transpose(1, 2)
        return self.attention(parts + self.position).mean(1)
