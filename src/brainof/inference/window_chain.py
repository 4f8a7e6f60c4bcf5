"""A preparation chain as torch operations on single windows: differentiable, on any device.

The steps that act along time in each channel (repair's mean, detrend, resample, notch, filter) are linear, so all of
them together are one matrix for windows of one length; it is found by sending unit impulses through the steps
themselves. Reference, bad channels and normalisation follow in torch, with the statistics of the window: a network
that is given windows has no recording to take them from.

Legend: B windows, C channels, T samples in, U samples out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..channels import Channels
from ..errors import ConfigError
from ..prepare import Chain
from ..prepare.bads import BadChannels, Repair
from ..prepare.filters import Detrend, Filter, Notch
from ..prepare.resampling import Resample
from ..prepare.scaling import Normalise, Reference
from ..prepare.steps import Step
from ..recording import Recording

LINEAR = (Repair, Detrend, Resample, Notch, Filter)

#: Longest window in samples: the matrix grows with its square
MAX_TIMES = 8192

_IMPULSES = 256


class WindowChain(nn.Module):
    """Prepare windows by the steps of a chain.

    Parameters
    ----------
    steps : list of dict
        As a contract stores them.
    channels : Channels
    sfreq : float
        Rate of the windows, Hz.
    n_times : int
        Their length.

    Attributes
    ----------
    sfreq : float
        Rate after preparation.
    """

    def __init__(self, steps: Sequence[dict[str, Any]], channels: Channels, sfreq: float, n_times: int) -> None:
        super().__init__()
        if n_times > MAX_TIMES:
            raise ConfigError(
                f"{n_times} samples (at most {MAX_TIMES})",
                field="n_times",
                fix="cut shorter windows, or resample first",
            )
        chain = Chain.from_steps(steps)
        linear = tuple(step for step in chain.steps if isinstance(step, LINEAR))
        if any(isinstance(step, Normalise) for step in chain.steps[:-1]):
            raise ConfigError("comes before other steps", field="normalise", fix="normalise last")
        matrix, self.sfreq = _matrix(linear, sfreq, n_times)
        self.register_buffer("matrix_TU", torch.from_numpy(matrix), persistent=False)
        self.reference = _one(chain, Reference)
        self.bads = _one(chain, BadChannels)
        self.normalise = _one(chain, Normalise)
        self.rows = {
            kind: [row for row, other in enumerate(channels.types) if other == kind]
            for kind in sorted(set(channels.types))
        }

    matrix_TU: Tensor

    def forward(self, x_BCT: Tensor) -> tuple[Tensor, Tensor]:
        """Prepared windows (B, C, U), and which channels are good (B, C)."""
        x_BCU = x_BCT.to(self.matrix_TU.dtype) @ self.matrix_TU
        good_BC = torch.ones(x_BCU.shape[:2], dtype=torch.bool, device=x_BCU.device)
        if self.bads is not None:
            good_BC = self._good(x_BCU, self.bads)
        if self.reference is not None and self.reference.kind == "average" and "eeg" in self.rows:
            x_BCU = self._rereference(x_BCU, good_BC, self.reference)
        if self.normalise is not None:
            x_BCU, good_BC = self._normalise(x_BCU, good_BC, self.normalise)
        return torch.where(good_BC[..., None], x_BCU, 0.0), good_BC

    @torch.no_grad()
    def _good(self, x_BCU: Tensor, step: BadChannels) -> Tensor:
        good_BC = torch.ones(x_BCU.shape[:2], dtype=torch.bool, device=x_BCU.device)
        _, scale_BC = centre_and_scale(x_BCU)
        for rows in self.rows.values():
            own = scale_BC[:, rows]
            middle_B1 = own.quantile(0.5, dim=1, keepdim=True)
            fine = (own > 0) & (own >= step.flat * middle_B1)
            if len(rows) >= step.min_channels:
                fine &= own <= step.loud * middle_B1
            good_BC[:, rows] = fine
        return good_BC

    def _rereference(self, x_BCU: Tensor, good_BC: Tensor, step: Reference) -> Tensor:
        rows = self.rows["eeg"]
        weight_BC1 = good_BC[:, rows, None].to(x_BCU.dtype)
        count_B11 = weight_BC1.sum(1, keepdim=True)
        average = (x_BCU[:, rows] * weight_BC1).sum(1, keepdim=True) / count_B11.clamp(min=1)
        x_BCU = x_BCU.clone()
        x_BCU[:, rows] = x_BCU[:, rows] - torch.where(count_B11 >= step.min_channels, average, 0.0)
        return x_BCU

    def _normalise(self, x_BCU: Tensor, good_BC: Tensor, step: Normalise) -> tuple[Tensor, Tensor]:
        centre_BC, scale_BC = centre_and_scale(x_BCU)
        divisor_BC = torch.ones_like(scale_BC)
        alive_BC = good_BC.clone()
        for rows in self.rows.values():
            own, good = scale_BC[:, rows], good_BC[:, rows]
            middle_B1 = torch.where(good, own, torch.nan).nanquantile(0.5, dim=1, keepdim=True)
            moving = torch.where(good & (own > 0), own, torch.nan).nanquantile(0.5, dim=1, keepdim=True)
            middle_B1 = torch.where(middle_B1 > 0, middle_B1, moving)  # more than half of the channels are constant
            alive_BC[:, rows] = good & (own > step.dead * middle_B1)
            wanted = own.clamp(min=step.floor * middle_B1) if step.per == "channel" else middle_B1.expand_as(own)
            divisor_BC[:, rows] = torch.where(wanted > 0, wanted, 1.0)
        scaled = (x_BCU - centre_BC[..., None]) / divisor_BC[..., None]
        return scaled.clamp(-step.clip, step.clip), alive_BC


def centre_and_scale(x_BCU: Tensor) -> tuple[Tensor, Tensor]:
    """Median and interquartile range / 1.349 along the last axis (torch.quantile refuses large inputs)."""
    ordered = x_BCU.sort(dim=-1).values
    places = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64) * (x_BCU.shape[-1] - 1)
    low = places.floor().long()
    part = (places - low).to(x_BCU.device, x_BCU.dtype)
    high = (low + 1).clamp(max=x_BCU.shape[-1] - 1)
    quartiles = torch.lerp(ordered[..., low.to(x_BCU.device)], ordered[..., high.to(x_BCU.device)], part)
    return quartiles[..., 1], (quartiles[..., 2] - quartiles[..., 0]) / 1.349


def _one(chain: Chain, kind: type[Any]) -> Any:
    return next((step for step in chain.steps if isinstance(step, kind)), None)


@lru_cache(maxsize=8)
def _matrix(steps: tuple[Step, ...], sfreq: float, n_times: int) -> tuple[np.ndarray, float]:
    """What the steps make of a unit impulse at each sample, shape (n_times, n_out) float32, and the rate after them."""
    rows = []
    for start in range(0, n_times, _IMPULSES):
        impulses = np.eye(min(_IMPULSES, n_times - start), n_times, start)
        names = tuple(map(str, range(len(impulses))))
        recording = Recording(impulses, sfreq, "eeg", Channels(names, ("eeg",) * len(names)))
        for step in steps:
            recording = step.apply(recording)
        rows.append(recording.data.astype(np.float32))
    return np.concatenate(rows), recording.sfreq
