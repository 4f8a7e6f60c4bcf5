"""Whitening within people: what differs between windows of one person counts less in the latents of an output.

Within-class covariance normalisation, as speaker recognition does it (Hatch, Kajarekar and Stolcke, Interspeech 2006):
latents less their mean, times C^(-1/2) with C the covariance of windows about the mean of their person. It is a linear
map in the shared space of latents, so that it serves people of other atlases and repetition times than those that it
was estimated from, which a covariance of correlations between regions cannot (docs/decisions/0113).

Legend: B windows, L latents, D width, F = L * D, R directions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .layers import wide

#: Directions that are made smaller at most; all others keep their size
RANK = 256
#: Mean within-person variances that are added to that of each direction
SHRINKAGE = 3.0


class Whitening(nn.Module):
    """A linear map of the latents of one output, the identity until `fit`; no gradient changes it.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from brainof.model.whitening import Whitening
    >>> rng = np.random.default_rng(0)
    >>> person, noise = np.repeat(rng.normal(size=(20, 8)), 5, 0), rng.normal(size=(100, 8)) * [9, 1, 1, 1, 1, 1, 1, 1]
    >>> whitening = Whitening(8)
    >>> whitening.fit(person + noise, np.repeat(np.arange(20), 5), np.zeros(100))
    >>> whitened = whitening(torch.tensor(noise).view(100, 2, 4)).flatten(1)
    >>> [round(float(x[:, 0].std() / x[:, 1].std())) for x in (torch.tensor(noise), whitened)]
    [9, 5]
    """

    mean_F: Tensor
    basis_RF: Tensor
    gain_R: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(width))
        self.register_buffer("basis_RF", torch.zeros(RANK, width))
        self.register_buffer("gain_R", torch.zeros(RANK))

    def init_weights(self) -> None:
        for buffer in self.buffers():
            buffer.zero_()

    def forward(self, latents_BLD: Tensor) -> Tensor:
        """Latents (B, L, D), at least float32."""
        x_BLD = wide(latents_BLD)
        x_BF = x_BLD.flatten(1) - self.mean_F.to(x_BLD.dtype)
        basis_RF = self.basis_RF.to(x_BF.dtype)
        return (x_BF + (x_BF @ basis_RF.T * self.gain_R.to(x_BF.dtype)) @ basis_RF).view_as(x_BLD)

    def fit(self, values_NF: np.ndarray, people_N: np.ndarray, datasets_N: np.ndarray) -> None:
        """Estimate the map from latents (windows, F), raw, and the person and dataset of each window.

        The mean is that of datasets, each the mean of its people. People of one window say nothing of the covariance.
        """
        means, within = [], []
        for dataset in np.unique(datasets_N):
            rows = datasets_N == dataset
            each = [values_NF[rows & (people_N == person)].astype(np.float64) for person in np.unique(people_N[rows])]
            means.append(np.mean([of.mean(0) for of in each], 0))
            within += [of - of.mean(0) for of in each]
        within_NF = np.concatenate(within)
        _, scale, basis = np.linalg.svd(within_NF / np.sqrt(len(within_NF)), full_matrices=False)
        basis, variance = basis[:RANK], scale[:RANK] ** 2
        floor = SHRINKAGE * (scale**2).sum() / within_NF.shape[1]
        self.init_weights()
        self.mean_F.copy_(torch.from_numpy(np.mean(means, 0)))
        self.basis_RF[: len(basis)].copy_(torch.from_numpy(basis))
        if floor:  # windows that do not differ from each other leave the map as it is
            self.gain_R[: len(basis)].copy_(torch.from_numpy(np.sqrt(floor / (variance + floor)) - 1))
