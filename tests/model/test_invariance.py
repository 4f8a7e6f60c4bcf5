"""What must not change the latents of a window: its company, padding, the order of channels, the kernel; in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from brainof.model import attention

PER_OUTPUT = {
    "tokens": {"connectivity": True},
    "sampler": {"latents": 12},
    "decoder": {"kind": "per_output", "outputs": ["waveform", "log_spectrum", "connectivity"]},
}
OPTIONS = [
    {},
    {"backbone": {"attention": "softmax"}},
    {"backbone": {"attention": "diff"}},
    {"backbone": {"ffn": "dense", "layer_scale": 0}},
    {"sampler": {"blocks": 2}, "decoder": {"kind": "separate", "blocks": 2}},
    {"tokens": {"log_spectrum": False}, "backbone": {"shared": 0}, "decoder": {"outputs": ["waveform"]}},
    {"tokens": {"connectivity": True}},
    PER_OUTPUT,
]


def uneven(make_batch, modality):
    """Two windows of different lengths; the second has a bad channel, whose samples are not even finite."""
    batch = make_batch(modality, channels=4, patches=4, lengths=[256, 130])
    batch = replace(batch, signal_BCT=batch.signal_BCT.double())
    batch.channel_mask_BC[1, 2] = False
    batch.signal_BCT[1, 2] = torch.nan
    return batch


def alone(batch, row, length, channels):
    """One window with nothing but its own channels and patches."""
    return replace(
        batch.take_channels(torch.tensor(channels)),
        signal_BCT=batch.signal_BCT[row : row + 1, channels, :length],
        channel_mask_BC=torch.ones(1, len(channels), dtype=torch.bool),
        n_times_B=batch.n_times_B[row : row + 1],
        interval_B=batch.interval_B[row : row + 1],
        modality_B=batch.modality_B[row : row + 1],
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_company_padding_and_the_order_of_channels_do_not_matter(make_batch, debug, options, fused, monkeypatch):
    monkeypatch.setattr(attention, "use_fused", lambda *_: fused)
    model = debug(**options)
    for modality in ("eeg", "meg", "fmri"):
        batch = uneven(make_batch, modality)
        together = model.forward_features(batch)
        for row, length, channels in ((0, 256, [0, 1, 2, 3]), (1, 192, [0, 1, 3])):
            expected = model.forward_features(alone(batch, row, length, channels))
            torch.testing.assert_close(together[row : row + 1], expected, rtol=0, atol=1e-11)
        shuffled = batch.take_channels(torch.tensor([3, 0, 1, 2]))
        torch.testing.assert_close(model.forward_features(shuffled), together, rtol=0, atol=1e-11)
        moved = replace(shuffled, sensors=batch.sensors)  # contents moved, places not: must differ
        assert (model.forward_features(moved) - together).abs().max() > 1e-3


@torch.no_grad()
def test_company_does_not_matter_to_the_interpolating_sampler(make_batch, debug):
    """It reads a fixed grid, so padding and order do matter; the other windows must not."""
    model = debug(sampler={"kind": "interpolate", "interpolate_channels": 4})
    batch = uneven(make_batch, "eeg")
    together = model.forward_features(batch)
    for row in (0, 1):
        single = model.forward_features(batch.take_windows(torch.tensor([row])))
        torch.testing.assert_close(single, together[row : row + 1], rtol=0, atol=1e-11)
    other = batch.take_windows(torch.tensor([1, 1]))
    assert (model.forward_features(other)[0] - together[0]).abs().max() > 1e-3
