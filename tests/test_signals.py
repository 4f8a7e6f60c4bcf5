from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.channels import SENSOR_TYPES, Channels
from brainof.signals import CENTRES, Sensors, SignalBatch


def channels(frame: str = "head") -> Channels:
    positions = np.array([[0.05, 0.0, 0.04], [np.nan] * 3, [0.0, 0.0, 0.12]])
    return Channels(("a", "b", "c"), ("eeg",) * 3, positions=positions, frame=frame)


def test_positions_are_centred_and_unknown_ones_are_zero_and_flagged():
    sensors = Sensors.from_channels(channels())
    assert sensors.located_BC.tolist() == [[True, False, True]]
    expected = torch.tensor([[0.05, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.08]])
    torch.testing.assert_close(sensors.position_BC3[0], expected)
    assert CENTRES["head"] == (0.0, 0.0, 0.04)
    assert sensors.type_BC.tolist() == [[SENSOR_TYPES.index("eeg")] * 3]


def test_frames_without_an_origin_are_centred_on_their_channels():
    sensors = Sensors.from_channels(channels("scanner"))
    assert sensors.position_BC3[0, sensors.located_BC[0]].mean(0).abs().max() < 1e-7


@pytest.mark.parametrize("lengths", [(64, 100), (130, 1)])
def test_windows_are_padded_to_whole_patches(lengths):
    windows = [np.ones((3, n)) for n in lengths]
    batch = SignalBatch.from_arrays(windows, channels(), 256.0, "eeg", patch=64)
    assert batch.signal_BCT.shape[2] % 64 == 0
    assert batch.signal_BCT.sum((1, 2)).tolist() == [3.0 * n for n in lengths]
    assert batch.n_times_B.tolist() == list(lengths)
    assert batch.modality == "eeg"
    half = batch.take_channels(torch.tensor([2, 0]))
    assert half.sensors.located_BC.tolist() == [[True, True]]
    assert half.to(torch.float64).signal_BCT.dtype == torch.float64
