"""Where, what and when a token is: the identity of a patch from its sensor, its time in seconds and its modality.

Never a channel index: positions in metres, orientations, sensor types, atlas order, seconds and the sampling interval,
so that any layout, rate and window length has an identity, and two recordings of one place share it.

Legend: B windows (1 where the batch shares its sensors), C channels, P patches, D width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..channels import MODALITIES, SENSOR_TYPES
from ..signals import Sensors
from .layers import init_linear

#: Length unit of positions (metres): about the radius of a head
METRES = 0.1
POSITION_OCTAVES = 4
#: Octaves by which the amplitude falls from one octave of position to the next: near sensors stand in for each other
POSITION_FALL = 2.0
#: Shortest period of the time features (seconds); each next one is twice as long, up to 17 minutes
SHORTEST_PERIOD = 0.5
TIME_OCTAVES = 12
#: Longest atlas whose order is resolved without repetition
LONGEST_ATLAS = 512
ORDER_OCTAVES = 9
#: Features of the code that tells regions apart, and their size: larger than all features that regions share
CODE_FEATURES = 64
CODE_GAIN = 2.0

CHANNEL_FEATURES = (
    6 * POSITION_OCTAVES + 3 + 1 + 3 + 2 * ORDER_OCTAVES + CODE_FEATURES + len(SENSOR_TYPES) + len(MODALITIES)
)
TIME_FEATURES = 2 * TIME_OCTAVES + 1


def fourier(value: Tensor, first: float, octaves: int, fall: float = 0.0) -> Tensor:
    """Sine and cosine of the last axis at angular frequencies first, 2 first, ..., each 2 ** `fall` times smaller."""
    octave = 2.0 ** torch.arange(octaves, device=value.device, dtype=value.dtype)
    angle = value[..., None] * (first * octave)
    return (torch.cat([angle.sin(), angle.cos()], -1) * octave.repeat(2) ** -fall).flatten(-2)


def region_code(order: Tensor) -> Tensor:
    """A code of each region from its rank in the atlas, (..., CODE_FEATURES): nearly orthogonal for any two.

    Octaves of the rank span too few dimensions to tell hundreds of regions apart (15 for 419). These are sine and
    cosine of the rank at frequencies k^2 sqrt(2) cycles, which are spread evenly and never in step.
    """
    step = torch.arange(1, CODE_FEATURES // 2 + 1, device=order.device, dtype=torch.float64)
    angle = 2 * math.pi * (order[..., None].double() * (step.square() * 2**0.5).frac()).frac()
    return CODE_GAIN * torch.cat([angle.sin(), angle.cos()], -1).float()


def channel_features(sensors: Sensors, modality_B: Tensor) -> Tensor:
    """Features of place and kind, shape (B, C, CHANNEL_FEATURES), float32."""
    # B may be 1 in the sensors, in the modalities, or in neither
    located = sensors.located_BC[..., None].float() * torch.ones_like(modality_B, dtype=torch.float32)[:, None, None]
    place = sensors.position_BC3.float() / METRES
    ordered = (sensors.order_BC >= 0)[..., None].float()
    order = fourier(sensors.order_BC[..., None].float(), math.pi / LONGEST_ATLAS, ORDER_OCTAVES)
    parts = [
        fourier(place, math.pi, POSITION_OCTAVES, POSITION_FALL) * located,
        place * located,
        located,
        sensors.orientation_BC3.float(),
        order * ordered,
        region_code(sensors.order_BC) * ordered,
        # one hot; torch's own looks for the largest index on the host
        (sensors.type_BC[..., None] == torch.arange(len(SENSOR_TYPES), device=place.device)).float(),
        (modality_B[:, None, None] == torch.arange(len(MODALITIES), device=place.device)).float(),
    ]
    return torch.cat([part.expand(*located.shape[:2], -1) for part in parts], -1)


def time_features(n_patches: int, patch: int, interval_B: Tensor) -> Tensor:
    """Features of the patch centres in seconds and of the sampling interval, shape (B, P, TIME_FEATURES), float32."""
    interval_B1 = interval_B.float()[:, None]
    centre_P = (torch.arange(n_patches, device=interval_B.device, dtype=torch.float32) + 0.5) * patch
    # the highest frequency last becomes the first octave of the slowest: the set is the same
    slowest = 2 * math.pi / (SHORTEST_PERIOD * 2 ** (TIME_OCTAVES - 1))
    seconds = fourier((centre_P * interval_B1)[..., None], slowest, TIME_OCTAVES)
    return torch.cat([seconds, (interval_B1.log() / 3)[:, None].expand(-1, n_patches, -1)], -1)


class Identity(nn.Module):
    """Identity embedding (B, C * P, D), channel-major: the normalised sum of an MLP and a linear map of the features.

    In the linear map, different places and times start nearly orthogonal.
    """

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        features = CHANNEL_FEATURES + TIME_FEATURES
        self.hidden = nn.Linear(features, dim)
        self.output = nn.Linear(dim, dim)
        self.linear = nn.Linear(features, dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.unlocated_D = nn.Parameter(torch.empty(dim))
        self.init_weights()

    def init_weights(self) -> None:
        init_linear(self.hidden)
        init_linear(self.output)
        nn.init.normal_(self.linear.weight, std=2 * self.linear.in_features**-0.5)
        nn.init.ones_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)
        nn.init.normal_(self.unlocated_D, std=0.02)

    def forward(self, sensors: Sensors, interval_B: Tensor, modality_B: Tensor, n_patches: int) -> Tensor:
        dtype = self.hidden.weight.dtype
        channel = channel_features(sensors, modality_B).to(dtype)
        time = time_features(n_patches, self.patch, interval_B).to(dtype)
        x = self.output(F.gelu(_over_grid(self.hidden, channel, time)))
        unlocated = (~sensors.located_BC)[..., None, None].to(x.dtype) * self.unlocated_D
        return self.norm(_over_grid(self.linear, channel, time) + x + unlocated).flatten(1, 2)


def _over_grid(linear: nn.Linear, channel_BCF: Tensor, time_BPF: Tensor) -> Tensor:
    """The linear map of all concatenated (channel, time) features, (B, C, P, D), without concatenating them."""
    where, when = linear.weight.split([channel_BCF.shape[-1], time_BPF.shape[-1]], dim=1)
    return F.linear(channel_BCF, where, linear.bias)[:, :, None] + F.linear(time_BPF, when)[:, None]
