"""Networks of other publications as baselines: trained from scratch on a task, with the read-out `full`.

Those that braindecode keeps come from there (extra: braindecode); the rest is written here in small. Each is tuned by
the budget of that read-out: three learning rates, chosen on validation groups. To add one: a class whose `forward` maps
windows (B, C, T) to features (B, F), and an entry in `NETWORKS`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..model.resolution import resample
from ..utils.modules import seeded
from ..utils.optional import optional


class Baseline(nn.Module):
    """A network, windows (B, C, T) to features (B, ...), with the two calls that adaptations make of a model."""

    def __init__(self, network: nn.Module, n_times: int) -> None:
        super().__init__()
        self.network, self.n_times = network, n_times
        self.config = SimpleNamespace(patch=1)

    def forward_features(self, batch: Any) -> Tensor:
        return self.network(batch.signal_BCT[:, :, : self.n_times]).flatten(1)

    def pool(self, features_BF: Tensor, kind: str = "auto", modality: str = "") -> Tensor:
        return features_BF


class At200(nn.Module):
    """Windows at 200 Hz in whole seconds, as LaBraM and CBraMod read them."""

    def __init__(self, network: nn.Module, sfreq: float, **arguments: Any) -> None:
        super().__init__()
        self.network, self.arguments, self.sfreq = network, arguments, sfreq

    def forward(self, x_BCT: Tensor) -> Tensor:
        at_200 = resample(x_BCT.flatten(0, 1), self.sfreq, 200.0).unflatten(0, x_BCT.shape[:2])
        return self.network(at_200[..., : at_200.shape[2] // 200 * 200], **self.arguments)


def _braindecode(name: str, n_chans: int, n_times: int, sfreq: float, names: Sequence[str]) -> nn.Module:
    """A model of braindecode without its last layer, which the head of the adaptation replaces."""
    models = optional("braindecode.models", "braindecode", f"the baseline {name}")
    at_200 = name in ("Labram", "CBraMod")
    size = {"n_times": round(n_times * 200 / sfreq) // 200 * 200 if at_200 else n_times, "sfreq": sfreq}
    with warnings.catch_warnings(action="ignore"):  # of defaults that were not asked for
        network = getattr(models, name)(n_outputs=2, n_chans=n_chans, **(size | ({"sfreq": 200.0} if at_200 else {})))
    network.final_layer = nn.Identity()
    if not at_200:
        return network
    electrodes = {"ch_names": [text.split()[-1] for text in names]} if name == "Labram" else {}
    return At200(network, sfreq, **electrodes)


def _encoder(dropout: float) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(256, 8, 4 * 256, dropout, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


def _convolved(inside: int, outside: int, size: int) -> list[nn.Module]:
    """A convolution over time, normalised, and a quarter of the samples."""
    layer = nn.Conv1d(inside, outside, size, padding=size // 2)
    return [layer, nn.BatchNorm1d(outside), nn.ELU(), nn.MaxPool1d(4)]


class CNNTransformer(nn.Module):
    """Convolutions of each second in all channels, then attention over seconds (Peh et al. 2022): features (B, 256).

    Source: Peh, Yao & Dauwels, "Transformer convolutional neural networks for automated artifact detection in scalp
    EEG", EMBC 2022. 3.2 million parameters in the tables of BIOT and CBraMod.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, *_: Any) -> None:
        super().__init__()
        self.second = min(n_times, max(16, round(sfreq)))
        self.convolution = nn.Sequential(
            *_convolved(n_chans, 64, 7),
            *_convolved(64, 128, 5),
            nn.Conv1d(128, 256, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool1d(1),
        )
        self.position = nn.Parameter(0.02 * torch.randn(n_times // self.second, 256))
        self.attention = _encoder(0.1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        seconds = x_BCT.unfold(2, self.second, self.second)  # (B, C, seconds, samples)
        n, count = len(seconds), seconds.shape[2]
        parts = self.convolution(seconds.transpose(1, 2).flatten(0, 1)).view(n, count, -1)
        return self.attention(parts + self.position).mean(1)


class FFCL(nn.Module):
    """Convolutions and an LSTM side by side, their features joined (Li et al. 2022): features (B, 512).

    Source: Li, Ding, Zhang & Xiu, "Motor imagery EEG classification algorithm based on CNN-LSTM feature fusion
    network", Biomed. Signal Process. Control 72 (2022). 2.4 million parameters in the tables of BIOT and CBraMod.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, *_: Any) -> None:
        super().__init__()
        self.convolution = nn.Sequential(
            *_convolved(n_chans, 128, 9),
            *_convolved(128, 256, 7),
            nn.Conv1d(256, 256, 5, padding=2),
            nn.ELU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.shorten = max(1, min(20, n_times // 8))
        self.recurrent = nn.LSTM(n_chans, 350, 2, batch_first=True)
        self.join = nn.Sequential(nn.Linear(256 + 350, 512), nn.ELU(), nn.Dropout(0.3))

    def forward(self, x_BCT: Tensor) -> Tensor:
        means = nn.functional.avg_pool1d(x_BCT, self.shorten).transpose(1, 2)
        return self.join(torch.cat([self.convolution(x_BCT), self.recurrent(means)[0][:, -1]], dim=1))


class STTransformer(nn.Module):
    """Attention over channels, then over time (Song et al. 2021): features (B, 256).

    Source: Song, Jia, Yang & Xie, "Transformer-based spatial-temporal feature learning for EEG decoding",
    arXiv:2106.11170. 3.5 million parameters in the tables of BIOT and CBraMod.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, *_: Any) -> None:
        super().__init__()
        length = min(n_times, 100 * (n_times // 100) or n_times)
        self.length, self.patch = length, max(1, length // 20)
        self.space_norm = nn.LayerNorm(length)
        self.query, self.key = nn.Linear(length, 16), nn.Linear(length, 16)
        self.embed = nn.Conv1d(n_chans, 256, self.patch, stride=self.patch)
        self.position = nn.Parameter(0.02 * torch.randn(length // self.patch, 256))
        self.attention = _encoder(0.3)

    def forward(self, x_BCT: Tensor) -> Tensor:
        x = x_BCT[:, :, : self.length]
        normed = self.space_norm(x)
        weights = (self.query(normed) @ self.key(normed).transpose(1, 2) / 4).softmax(-1)
        parts = self.embed(x + weights @ x).transpose(1, 2)
        return self.attention(parts + self.position).mean(1)


def correlations(x_BCT: Tensor) -> Tensor:
    """Correlation matrices (B, C, C) of windows (B, C, T); a channel without variance correlates with nothing."""
    centred = x_BCT - x_BCT.mean(2, keepdim=True)
    standard = centred / centred.norm(dim=2, keepdim=True).clamp(min=1e-8)
    return standard @ standard.transpose(1, 2)


class EdgeToEdge(nn.Module):
    """For every edge (i, j): what row i and what column j hold, each through weights over all regions."""

    def __init__(self, inside: int, outside: int, n_regions: int) -> None:
        super().__init__()
        self.row = nn.Conv2d(inside, outside, (1, n_regions))
        self.column = nn.Conv2d(inside, outside, (n_regions, 1))

    def forward(self, x_BFRR: Tensor) -> Tensor:
        return self.row(x_BFRR) + self.column(x_BFRR)


class BrainNetCNN(nn.Module):
    """Edge-to-edge, edge-to-node and node-to-graph filters (Kawahara et al. 2017): features (B, 30).

    Source: Kawahara et al., "BrainNetCNN: Convolutional neural networks for brain networks", NeuroImage 146 (2017):
    E2E 32 maps twice, E2N 64, N2G 256, then 128 and 30 units.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, *_: Any) -> None:
        super().__init__()
        slope = nn.LeakyReLU(0.33)
        edges = [EdgeToEdge(1, 32, n_chans), slope, EdgeToEdge(32, 32, n_chans), slope]
        nodes = [nn.Conv2d(32, 64, (1, n_chans)), slope, nn.Conv2d(64, 256, (n_chans, 1)), slope, nn.Flatten()]
        graph = [nn.Dropout(0.5), nn.Linear(256, 128), slope, nn.Dropout(0.5), nn.Linear(128, 30), slope]
        self.layers = nn.Sequential(*edges, *nodes, *graph)

    def forward(self, x_BCT: Tensor) -> Tensor:
        return self.layers(correlations(x_BCT)[:, None])


class BrainNetTF(nn.Module):
    """Attention over regions, each described by its row of correlations, read by clusters (Kan et al. 2022).

    Source: Kan et al., "Brain Network Transformer", NeurIPS 2022: two layers of four heads, orthonormal clustering
    read-out on 100 clusters, or as many as there are regions where that is fewer; features (B, clusters x 8).
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, *_: Any) -> None:
        super().__init__()
        heads = next(heads for heads in (4, 3, 2, 1) if n_chans % heads == 0)
        layer = nn.TransformerEncoderLayer(n_chans, heads, 1024, 0.1, batch_first=True)
        self.attention = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.centres = nn.Parameter(nn.init.orthogonal_(torch.empty(min(100, n_chans), n_chans)))
        self.reduce = nn.Sequential(nn.Linear(n_chans, 8), nn.LeakyReLU())

    def assigned(self, regions_BRD: Tensor) -> Tensor:
        """Share of each region in each cluster, (B, R, K)."""
        return (regions_BRD @ self.centres.T).softmax(-1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        regions = self.attention(correlations(x_BCT))
        return self.reduce(self.assigned(regions).transpose(1, 2) @ regions).flatten(1)


#: name -> (n_chans, n_times, sfreq, names of channels) -> network
NETWORKS: dict[str, Callable[[int, int, float, Sequence[str]], nn.Module]] = {
    name: partial(_braindecode, name)
    for name in ("EEGNet", "EEGConformer", "ContraWR", "Deep4Net", "ShallowFBCSPNet", "BIOT", "Labram", "CBraMod")
} | {
    "CNN-Transformer": CNNTransformer,
    "FFCL": FFCL,
    "ST-Transformer": STTransformer,
    "BrainNetCNN": BrainNetCNN,
    "BrainNetTF": BrainNetTF,
}


def build(name: str, n_chans: int, n_times: int, sfreq: float, names: Sequence[str] = (), seed: int = 0) -> Baseline:
    """A network of `NETWORKS` for windows of one size, with random weights; `names` are those of the channels.

    A ConfigError where it takes no windows of that size, a DependencyError where braindecode has it and is not
    installed.

    Examples
    --------
    >>> from brainof.evaluation.networks import build
    >>> sum(parameter.numel() for parameter in build("FFCL", 16, 2000, 200.0).parameters()) > 1e6
    True
    """
    with seeded(seed):
        try:
            network = NETWORKS[name](n_chans, n_times, sfreq, names)
            with torch.no_grad():
                network.eval()(torch.zeros(1, n_chans, n_times))
        except (ValueError, RuntimeError, AssertionError, IndexError, TypeError, ZeroDivisionError) as error:
            why = " ".join(str(error).split())[:200]
            text = f"takes no windows of {n_chans} channels x {n_times} samples ({why})"
            raise ConfigError(text, field=name, fix="leave it out, or give longer windows") from None
    return Baseline(network, n_times)
