"""What travels between corpus and model: batches of windows with the identity of their sensors, as tensors.

Legend of shape suffixes: B windows, C channels, T samples. A leading 1 in place of B means "shared by the batch".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from .channels import MODALITIES, SENSOR_TYPES, Channels
from .errors import RecordingError

#: Centre of the brain in each coordinate frame (metres); positions are given to the model relative to it
CENTRES: dict[str, tuple[float, float, float]] = {"head": (0.0, 0.0, 0.04), "mni": (0.0, -0.018, 0.012)}


class Tensors:
    """A dataclass of tensors whose first axis is windows; tuples in it are of windows, too, or empty."""

    def to(self, *args, **kwargs) -> Self:
        tensors = {key: value for key, value in vars(self).items() if isinstance(value, (Tensor, Tensors))}
        return replace(self, **{key: value.to(*args, **kwargs) for key, value in tensors.items()})  # type: ignore[type-var]

    def take_windows(self, windows: Tensor) -> Self:
        """The windows numbered in a 1-D index tensor."""
        values: dict[str, Any] = {}
        numbers = windows.tolist()
        for name, value in vars(self).items():
            if isinstance(value, Tensors):
                values[name] = value.take_windows(windows)
            elif isinstance(value, Tensor):
                values[name] = value[windows]
            elif isinstance(value, tuple) and value:
                values[name] = tuple(value[i] for i in numbers)
        return replace(self, **values)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Sensors(Tensors):
    """Identity of channels as tensors; B is 1 where a whole batch shares one channel set."""

    position_BC3: Tensor  # Metres relative to the brain centre; zero where unknown, see located_BC
    located_BC: Tensor
    orientation_BC3: Tensor  # Unit vectors; zero where there is none
    type_BC: Tensor  # Index of SENSOR_TYPES
    order_BC: Tensor  # Rank of a region in its atlas; -1 for sensors

    @classmethod
    def from_channels(cls, channels: Channels) -> Sensors:
        """Tensors of one channel table, with B = 1."""
        located = channels.located
        centre = np.array(CENTRES.get(channels.frame, (np.nan,) * 3))
        if np.isnan(centre).any():
            # no standard origin (device, scanner, unknown frames): the centre of the channels themselves
            centre = channels.positions[located].mean(axis=0) if located.any() else np.zeros(3)
        position = np.where(located[:, None], channels.positions - centre, 0.0)
        return cls(
            position_BC3=torch.from_numpy(position.astype(np.float32))[None],
            located_BC=torch.from_numpy(located)[None],
            orientation_BC3=torch.from_numpy(np.nan_to_num(channels.orientations).astype(np.float32))[None],
            type_BC=torch.tensor([SENSOR_TYPES.index(kind) for kind in channels.types])[None],
            order_BC=torch.from_numpy(channels.order)[None],
        )

    def filled(self, n_channels: int) -> Sensors:
        """With as many channels at the end, of unknown place, as make `n_channels`."""
        more = n_channels - self.type_BC.shape[1]
        if not more:
            return self
        values = {
            name: nn.functional.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, more))
            for name, tensor in vars(self).items()
        }
        values["order_BC"][:, -more:] = -1
        return Sensors(**values)

    def take_windows(self, windows: Tensor) -> Sensors:
        """As of all tensors; what windows share stays."""
        return self if len(self.type_BC) == 1 else super().take_windows(windows)

    def take(self, channels: Tensor) -> Sensors:
        """The channels numbered in an index tensor: (C,) for all windows, or (B, C) for each."""
        return Sensors(**{name: _channels_of(tensor, channels) for name, tensor in vars(self).items()})


def _channels_of(x: Tensor, channels: Tensor) -> Tensor:
    if channels.ndim == 1:
        return x[:, channels]
    return x.expand(len(channels), *x.shape[1:])[torch.arange(len(channels))[:, None], channels]


@dataclass(frozen=True)
class Checked:
    """What the host knows of a batch that it has checked, so that no step has to wait for a device to tell it."""

    complete: bool  # Every sample is signal
    shared: bool  # One identity serves all windows
    modality: str  # Of all windows


@dataclass(frozen=True, eq=False)
class SignalBatch(Tensors):
    """Windows of equal channel count and padded length, possibly of several channel sets.

    Attributes
    ----------
    signal_BCT : Tensor
        Normalised signal, zero where padded; T is a multiple of the patch length.
    sensors : Sensors
        Identities, with B = 1 where the batch shares one channel set.
    channel_mask_BC : Tensor of bool
        True where the channel exists and is not bad.
    n_times_B : Tensor of int64
        Valid samples of each window; later ones are padding.
    interval_B : Tensor of float32
        Seconds between samples (the TR for fMRI).
    modality_B : Tensor of int64
        Index into MODALITIES.
    datasets : tuple of str
        Dataset name of each window.
    rows : tuple of int
        Row of each window in the corpus index (empty when it does not come from a corpus).
    checked : Checked or None
        From whoever has checked exactly this batch on the host.
    """

    signal_BCT: Tensor
    sensors: Sensors
    channel_mask_BC: Tensor
    n_times_B: Tensor
    interval_B: Tensor
    modality_B: Tensor
    datasets: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    checked: Checked | None = None

    def __len__(self) -> int:
        return len(self.signal_BCT)

    @property
    def modality(self) -> str:
        """The modality's name, where the whole batch is of one modality."""
        return MODALITIES[int(self.modality_B[0])] if self.checked is None else self.checked.modality

    @classmethod
    def from_arrays(
        cls,
        windows: Sequence[np.ndarray],
        channels: Channels,
        sfreq: float,
        modality: str,
        patch: int,
        channel_mask: np.ndarray | None = None,
    ) -> SignalBatch:
        """Pad windows of one channel set, each (n_channels, n_times), to a common multiple of `patch` samples."""
        lengths = [window.shape[1] for window in windows]
        padded = math.ceil(max(lengths) / patch) * patch
        signal = torch.zeros(len(windows), len(channels), padded)
        for row, window in enumerate(windows):
            signal[row, :, : window.shape[1]] = torch.from_numpy(np.asarray(window, dtype=np.float32))
        mask = torch.ones(signal.shape[:2], dtype=torch.bool)
        if channel_mask is not None:
            mask &= torch.tensor(np.asarray(channel_mask, bool))
        return cls._of_one_layout(signal, channels, mask, torch.tensor(lengths), sfreq, modality)

    @classmethod
    def _of_one_layout(
        cls, signal_BCT: Tensor, channels: Channels, mask_BC: Tensor, n_times_B: Tensor, sfreq: float, modality: str
    ) -> SignalBatch:
        interval_B = torch.full((len(signal_BCT),), 1.0 / sfreq)
        modality_B = torch.full((len(signal_BCT),), MODALITIES.index(modality))  # type: ignore[arg-type]
        return cls(signal_BCT, Sensors.from_channels(channels), mask_BC, n_times_B, interval_B, modality_B)

    @classmethod
    def from_tensor(
        cls,
        signal_BCT: Tensor,
        sfreq: float,
        patch: int,
        positions: np.ndarray | Tensor | None = None,
        modality: str = "eeg",
        types: Sequence[str] | None = None,
        frame: str = "head",
    ) -> SignalBatch:
        """Windows of one channel set as they are; gradients reach `signal_BCT`.

        Parameters
        ----------
        signal_BCT : Tensor, shape (n_windows, n_channels, n_times)
            Normalised per channel (median 0, scale 1), as a model's contract says; no unit.
        sfreq : float
            Samples per second.
        patch : int
            Samples per patch: `model.config.patch`. Windows are padded with zeros to a whole number of patches.
        positions : array, shape (n_channels, 3), optional
            Metres in `frame`; NaN is unknown.
        types : sequence of str, optional
            Sensor type of each channel; by default electrodes, magnetometers or regions.

        Raises
        ------
        RecordingError
            Another number of dimensions, positions or types.
        """
        if signal_BCT.ndim != 3:
            fix = "give (n_windows, n_channels, n_times)"
            raise RecordingError(f"shape {tuple(signal_BCT.shape)}", field="signal", fix=fix)
        windows, n_channels, n_times = signal_BCT.shape
        kinds = types or [{"eeg": "eeg", "meg": "mag", "fmri": "roi"}[modality]] * n_channels
        names = tuple(f"channel {number}" for number in range(n_channels))
        places = None if positions is None else torch.as_tensor(positions).cpu().double().numpy()
        channels = Channels(names, tuple(kinds), places, frame=frame)  # type: ignore[arg-type]
        padded = torch.nn.functional.pad(signal_BCT, (0, -n_times % patch))
        facts = torch.ones(windows, n_channels, dtype=torch.bool), torch.full((windows,), n_times), sfreq, modality
        return cls._of_one_layout(padded, channels, *facts).to(signal_BCT.device)

    def take_channels(self, channels: Tensor) -> SignalBatch:
        """The same windows with only the channels numbered in an index tensor, (C,) or (B, C)."""
        return replace(
            self,
            signal_BCT=_channels_of(self.signal_BCT, channels),
            sensors=self.sensors.take(channels),
            channel_mask_BC=_channels_of(self.channel_mask_BC, channels),
        )
