from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.channels import SENSOR_TYPES, Channels
from brainof.errors import RecordingError
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


def test_a_tensor_is_the_same_batch_as_arrays_and_keeps_its_gradient():
    rng = np.random.default_rng(0)
    data, places = rng.standard_normal((2, 3, 100)).astype(np.float32), rng.normal(0, 0.1, (3, 3))
    channels = Channels(("channel 0", "channel 1", "channel 2"), ("eeg",) * 3, places, frame="head")
    expected = SignalBatch.from_arrays(list(data), channels, 128.0, "eeg", 64)
    signal = torch.from_numpy(data).requires_grad_()
    batch = SignalBatch.from_tensor(signal, 128.0, 64, positions=places)
    for name in ("signal_BCT", "channel_mask_BC", "n_times_B", "interval_B", "modality_B"):
        assert torch.equal(getattr(batch, name), getattr(expected, name)), name
    assert torch.equal(batch.sensors.position_BC3, expected.sensors.position_BC3)
    batch.signal_BCT.sum().backward()
    assert torch.equal(signal.grad, torch.ones(2, 3, 100))
    with pytest.raises(RecordingError, match=r"shape \(3, 100\)"):
        SignalBatch.from_tensor(signal[0], 128.0, 64)
