"""Signals -> tokens: patches, masks, identities, and the refusal of what the model cannot read."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from brainof.errors import RecordingError
from brainof.model import tokens
from brainof.model.identity import (
    CHANNEL_FEATURES,
    POSITION_OCTAVES,
    TIME_FEATURES,
    Identity,
    channel_features,
    region_code,
    time_features,
)
from brainof.model.tokens import log_spectrum, patchify, take_tokens, unpatchify
from brainof.signals import Sensors


def test_patches_are_channel_major_and_invertible():
    signal = torch.arange(2 * 3 * 8.0).view(2, 3, 8)
    patches = patchify(signal, 4)
    assert patches.shape == (2, 6, 4)
    assert torch.equal(patches[1, 3], signal[1, 1, 4:])
    assert torch.equal(unpatchify(patches, 3), signal)


def test_log_spectrum_of_a_sine_peaks_in_its_bin():
    wave = torch.sin(2 * torch.pi * 5 * torch.arange(64) / 64)[None, None]
    spectrum = log_spectrum(wave)
    assert spectrum.shape == (1, 1, 33)
    assert spectrum.argmax() == 5
    torch.testing.assert_close(spectrum[0, 0, 5].exp(), torch.tensor(64**0.5 / 2 + 0.05))


def test_identity_is_shared_when_one_channel_set_serves_the_batch(make_batch, debug):
    model, batch = debug(), make_batch(windows=3)
    tokens = model.tokens(batch)
    assert tokens.identity_BND.shape == (1, 15, 32)
    assert tokens.complete
    assert tokens.valid_BNS is None
    other = replace(batch, interval_B=batch.interval_B * torch.tensor([1.0, 2.0, 1.0]))
    separate = model.tokens(other).identity_BND
    assert separate.shape == (3, 15, 32)
    torch.testing.assert_close(separate[0], tokens.identity_BND[0])
    assert (separate[1] - separate[0]).abs().max() > 0.1


def test_grid_of_identities_equals_concatenated_features(make_batch):
    batch, identity = make_batch("meg", windows=1), Identity(32, 64).double()
    channel = channel_features(batch.sensors, batch.modality_B).double()
    time = time_features(3, 64, batch.interval_B).double()
    features = torch.cat([channel[:, :, None].expand(-1, -1, 3, -1), time[:, None].expand(-1, 5, -1, -1)], -1)
    assert features.shape[-1] == CHANNEL_FEATURES + TIME_FEATURES
    plain = identity.output(F.gelu(identity.hidden(features))) + identity.linear(features)
    torch.testing.assert_close(
        identity(batch.sensors, batch.interval_B, batch.modality_B, 3), identity.norm(plain).flatten(1, 2)
    )


def test_time_is_in_seconds_whatever_the_rate():
    slow, fast = time_features(4, 64, torch.tensor([1 / 128])), time_features(8, 64, torch.tensor([1 / 256]))
    # the centre of slow patch p lies at the boundary of fast patches 2p and 2p + 1
    seconds = torch.atan2(slow[0, :, 0], slow[0, :, 12])
    finer = torch.atan2(fast[0, :, 0], fast[0, :, 12])
    torch.testing.assert_close(seconds, finer.view(4, 2).mean(1), rtol=1e-4, atol=1e-6)


def test_unknown_positions_have_their_own_embedding(make_batch, debug):
    model = debug()
    located, lost = make_batch(windows=1), make_batch(windows=1, located=False)
    identity = model.tokens(lost).identity_BND.unflatten(1, (5, 3))
    torch.testing.assert_close(identity[:, 0], identity[:, 1])  # nothing tells two unlocated electrodes apart
    before = identity.clone()
    with torch.no_grad():
        model.identity.unlocated_D += 1.0 * torch.randn(32)
    assert (model.tokens(lost).identity_BND.unflatten(1, (5, 3)) - before).abs().max() > 0.1
    assert model.tokens(located).identity_BND.isfinite().all()


def test_regions_without_coordinates_differ_by_their_order(make_batch, debug):
    identity = debug().tokens(make_batch("fmri", windows=1, located=False)).identity_BND.unflatten(1, (5, 3))
    assert (identity[:, 0] - identity[:, 1]).abs().max() > 0.05


def test_codes_tell_hundreds_of_regions_apart():
    code = F.normalize(region_code(torch.arange(1000)), dim=-1)
    similarity = (code @ code.mT).fill_diagonal_(0).abs()
    assert similarity.max() < 0.75
    assert similarity.square().mean().sqrt() < 0.14
    assert torch.linalg.matrix_rank(code) == 64
    assert torch.equal(code[[7, 900]], F.normalize(region_code(torch.tensor([7, 900])), dim=-1))


def test_tails_and_bad_channels_are_masked(make_batch, debug):
    batch = make_batch(channels=3, patches=3, lengths=[192, 100])
    batch.channel_mask_BC[0, 1] = False
    batch.signal_BCT[0, 1] = torch.nan  # a masked channel may hold anything
    tokens = debug().tokens(batch)
    assert not tokens.complete
    assert tokens.mask_BN[0].tolist() == [True] * 3 + [False] * 3 + [True] * 3
    assert tokens.mask_BN[1].view(3, 3).tolist() == [[True, True, False]] * 3
    assert tokens.valid_BNS[1].view(3, 192)[0].sum() == 100
    assert (tokens.patch_BNS[~tokens.valid_BNS] == 0).all()


@pytest.mark.parametrize("shared", [True, False])
def test_taking_tokens_equals_gathering(shared):
    x = torch.randn(1 if shared else 3, 6, 4, dtype=torch.float64, requires_grad=True)
    index = torch.stack([torch.randperm(6)[:4] for _ in range(3)])
    expected = x.expand(3, -1, -1).gather(1, index[..., None].expand(-1, -1, 4))
    found, probe = take_tokens(x, index), torch.randn(3, 4, 4, dtype=torch.float64)
    assert torch.equal(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, x, probe)[0], torch.autograd.grad(expected, x, probe)[0])


def broken(batch, field):
    if field == "channels":
        return batch.take_channels(torch.tensor([], dtype=torch.int64))
    if field == "channel_mask":
        batch.channel_mask_BC[1] = False
    if field == "signal":
        batch.signal_BCT[1, 2, 70] = torch.inf
    if field == "n_times":
        batch.n_times_B[0] = 0
    if field == "interval":
        batch.interval_B[1] = 0
    if field == "sensors.position":
        batch.sensors.position_BC3[0, 1] = torch.nan
    return batch


@pytest.mark.parametrize("field", ["channels", "channel_mask", "signal", "n_times", "interval", "sensors.position"])
def test_unreadable_batches_are_refused_by_field(make_batch, debug, field):
    with pytest.raises(RecordingError, match=field.replace(".", r"\.")):
        debug().forward_features(broken(make_batch(), field))


def test_a_non_finite_sample_is_named(make_batch, debug):
    batch = broken(make_batch(), "signal")
    with pytest.raises(RecordingError, match=r"window 1 \(set\) is not finite at channel 2, sample 70"):
        debug().tokens(replace(batch, datasets=("set", "set")))


def test_the_first_window_at_fault_is_named(make_batch, debug):
    batch = make_batch()
    names = tuple(f"set{row}" for row in range(len(batch)))
    last = len(batch) - 1
    for field, value in (("interval_B", 0), ("n_times_B", 0), ("channel_mask_BC", False)):
        broken_batch = replace(batch, datasets=names, **{field: getattr(batch, field).clone()})
        getattr(broken_batch, field)[[last - 1, last]] = value
        with pytest.raises(RecordingError, match=rf"window {last - 1} .set{last - 1}."):
            debug().tokens(broken_batch)


def test_a_broken_patch_count_is_refused(make_batch, debug):
    batch = make_batch()
    with pytest.raises(RecordingError, match="whole number of patches"):
        debug().tokens(replace(batch, signal_BCT=batch.signal_BCT[..., :-1]))


@pytest.mark.parametrize("spectrum", [True, False])
def test_contents_equal_the_formula(spectrum):
    content = tokens.Content(16, 8, spectrum).double()
    patch, extra = torch.randn(3, 5, 8, dtype=torch.float64), torch.randn(3, 5, 16, dtype=torch.float64)
    x = content.linear(patch)
    if spectrum:
        x = x + content.spectrum_output(F.gelu(content.spectrum_hidden(tokens.log_spectrum(patch))))
    torch.testing.assert_close(content(patch), content.norm(x))
    torch.testing.assert_close(content(patch, extra), content.norm(x + extra))


def test_every_fact_of_a_channel_is_in_its_features():
    """Places in units of 10 cm; orientations as they are."""
    base = Sensors(
        position_BC3=torch.tensor([[[0.05, -0.02, 0.1]]]),
        located_BC=torch.tensor([[True]]),
        orientation_BC3=torch.tensor([[[0.6, 0.0, -0.8]]]),
        type_BC=torch.tensor([[1]]),
        order_BC=torch.tensor([[3]]),
    )
    modality = torch.tensor([1])
    features = channel_features(base, modality)[0, 0]
    first = 6 * POSITION_OCTAVES
    torch.testing.assert_close(features[first : first + 3], torch.tensor([0.5, -0.2, 1.0]))
    torch.testing.assert_close(features[first + 4 : first + 7], base.orientation_BC3[0, 0])
    for changed in (
        replace(base, position_BC3=base.position_BC3 + 0.01),
        replace(base, located_BC=~base.located_BC),
        replace(base, orientation_BC3=-base.orientation_BC3),
        replace(base, type_BC=base.type_BC + 1),
        replace(base, order_BC=base.order_BC + 1),
    ):
        assert not torch.equal(channel_features(changed, modality)[0, 0], features)
    assert not torch.equal(channel_features(base, modality + 1)[0, 0], features)


def test_windows_at_one_time_differ_by_their_sampling_interval():
    """The second patch at 256 Hz and the fifth at 768 Hz have their centres 0.375 s after the start."""
    slow, fast = time_features(5, 64, torch.tensor([1 / 256, 1 / 768]))
    torch.testing.assert_close(slow[1, :-1], fast[4, :-1], rtol=0, atol=1e-4)
    assert (slow[1, -1] - fast[4, -1]).item() == pytest.approx(math.log(3) / 3, rel=1e-5)
