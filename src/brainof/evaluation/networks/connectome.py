"""Networks on the correlations between the channels or regions of a window."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        """Maps (B, outside, R, R)."""
        return self.row(x_BFRR) + self.column(x_BFRR)


class BrainNetCNN(nn.Module):
    """Edge-to-edge, edge-to-node and node-to-graph filters (Kawahara et al. 2017).

    Source: Kawahara et al., "BrainNetCNN: Convolutional neural networks for brain networks", NeuroImage 146 (2017):
    E2E 32 maps twice, E2N 64, N2G 256, then 128 and 30 units.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float) -> None:
        super().__init__()
        slope = nn.LeakyReLU(0.33)
        self.layers = nn.Sequential(
            EdgeToEdge(1, 32, n_chans),
            slope,
            EdgeToEdge(32, 32, n_chans),
            slope,
            nn.Conv2d(32, 64, (1, n_chans)),
            slope,
            nn.Conv2d(64, 256, (n_chans, 1)),
            slope,
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(256, 128),
            slope,
            nn.Dropout(0.5),
            nn.Linear(128, 30),
            slope,
        )

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Features (B, 30)."""
        return self.layers(correlations(x_BCT)[:, None])


class BrainNetTF(nn.Module):
    """Attention over regions, each described by its row of correlations, read by clusters (Kan et al. 2022).

    Source: Kan et al., "Brain Network Transformer", NeurIPS 2022: two layers of four heads, orthonormal clustering
    read-out. `n_clusters` is theirs, or the number of regions where that is smaller.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float, n_clusters: int = 100, kept: int = 8) -> None:
        super().__init__()
        heads = next(heads for heads in (4, 3, 2, 1) if n_chans % heads == 0)
        layer = nn.TransformerEncoderLayer(n_chans, heads, 1024, 0.1, batch_first=True)
        self.attention = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        centres = torch.empty(min(n_clusters, n_chans), n_chans)
        self.centres = nn.Parameter(nn.init.orthogonal_(centres))
        self.reduce = nn.Sequential(nn.Linear(n_chans, kept), nn.LeakyReLU())

    def assigned(self, regions_BRD: Tensor) -> Tensor:
        """Share of each region in each cluster, (B, R, K)."""
        return (regions_BRD @ self.centres.T).softmax(-1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Features (B, clusters x kept)."""
        regions = self.attention(correlations(x_BCT))
        return self.reduce(self.assigned(regions).transpose(1, 2) @ regions).flatten(1)
