"""Masks of whole plans: per window, per modality, per share of the steps; padding and the axis of regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masks import WindowRandom, atlas_places, hide_patches, regions, without_components
from brainof.pretraining.mtfm import MTFM


@settings(max_examples=30, deadline=None)
@given(
    own=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    padded=st.integers(0, 3),
    unit=st.sampled_from(["patch", "segment", "channel", "mixed"]),
    ratio=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**20),
)
def test_the_mask_of_a_window_does_not_depend_on_its_batch(own, padded, unit, ratio, seed):
    """Alone, or among others that are longer: the same (seed, epoch, sample) hides the same patches."""
    channels, patches = own
    alone = hide_patches(np.ones((1, *own), bool), ratio, unit, WindowRandom((seed, 3), [11]))
    valid = np.ones((3, channels, patches + padded), bool)
    valid[1, :, patches:] = False
    together = hide_patches(valid, ratio, unit, WindowRandom((seed, 3), [5, 11, 2]))
    assert (together[1, :, :patches] == alone[0]).all()
    assert not together[1, :, patches:].any()
    again = hide_patches(valid, ratio, unit, WindowRandom((seed, 4), [5, 11, 2]))
    assert channels * patches < 12 or ratio < 0.3 or unit != "patch" or (again != together).any()


def test_components_of_a_window_do_not_depend_on_padding(make_batch):
    """A short window in a padded batch loses the same components as alone, and its padding stays zero."""
    batch = make_batch(lengths=(256, 150, 64))
    mask = MaskConfig(fourier_ratio=0.5, fourier_unit="component")
    together = without_components(batch, mask, WindowRandom((0,), [7, 8, 9]))
    own = replace(
        batch,
        signal_BCT=batch.signal_BCT[1:2, :, :150],
        n_times_B=batch.n_times_B[1:2],
        interval_B=batch.interval_B[1:2],
        channel_mask_BC=batch.channel_mask_BC[1:2],
        modality_B=batch.modality_B[1:2],
    )
    alone = without_components(own, mask, WindowRandom((0,), [8]))
    torch.testing.assert_close(together[1, :, :150], alone[0])
    assert together[1, :, 150:].abs().max() == 0
    assert (together[1, :, :150] - batch.signal_BCT[1, :, :150]).abs().max() > 0.1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rates=st.lists(st.sampled_from([64.0, 100.0, 128.0, 256.0]), min_size=2, max_size=4),
    unit=st.sampled_from(["band", "component"]),
    seed=st.integers(0, 2**20),
)
def test_components_are_counted_by_the_rate_of_each_window(make_batch, rates, unit, seed):
    """Windows of several rates, as augmentation makes them: each loses what it would lose alone, below the limit."""
    mask = MaskConfig(fourier_ratio=0.6, fourier_unit=unit, fourier_max_hz=20.0)
    batch = replace(make_batch(n_windows=len(rates), seed=seed % 7), interval_B=1 / torch.tensor(rates))
    rows = torch.arange(len(rates))
    together = without_components(batch, mask, WindowRandom((seed,), rows.tolist()))
    before, after = (torch.fft.rfft(signal.double()).abs() for signal in (batch.signal_BCT, together))
    for row, rate in enumerate(rates):
        alone = without_components(batch.take_windows(rows[row : row + 1]), mask, WindowRandom((seed,), [row]))
        assert torch.equal(together[row], alone[0])
        gone_hz = torch.arange(129)[(after[row] < before[row] / 2).all(0)] * rate / 256
        assert len(gone_hz) > 0
        assert gone_hz.max() <= mask.fourier_max_hz


def test_regions_are_transformed_in_atlas_order_whatever_the_table_says(make_batch):
    batch = make_batch("fmri", n_channels=12)
    batch.channel_mask_BC[:, 4] = False
    batch.signal_BCT[:, 4] = 1e3  # a bad region may hold anything
    mask = MaskConfig(fourier_ratio=0.5)
    expected = without_components(batch, mask, WindowRandom((0,), range(4)))
    assert expected.abs().max() < 100  # nothing of it leaks
    assert (expected[:, 4] == 0).all()
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(12))
    found = without_components(batch.take_channels(shuffled), mask, WindowRandom((0,), range(4)))
    torch.testing.assert_close(found, expected[:, shuffled], atol=1e-5, rtol=1e-5)
    assert torch.equal(atlas_places(batch.take_channels(shuffled))[0], shuffled)


@pytest.mark.parametrize("located", [True, False])
def test_regions_are_neighbourhoods(make_batch, located):
    batch = make_batch("fmri", n_channels=20)
    sensors = batch.sensors
    if not located:
        batch = replace(batch, sensors=replace(sensors, located_BC=torch.zeros_like(sensors.located_BC)))
    found = regions(batch, 5, WindowRandom((0,), range(4)))
    place = sensors.position_BC3[0].numpy() if located else np.arange(20.0)[:, None]
    for row in found:
        centres = np.unique(row)
        assert len(centres) == 4
        nearest = ((place[:, None] - place[centres]) ** 2).sum(-1)
        assert (row == centres[nearest.argmin(1)]).all()
    hidden = hide_patches(np.ones((4, 20, 4), bool), 0.5, "region", WindowRandom((0,), range(4)), found)
    for row in range(4):
        for centre in np.unique(found[row]):
            own = hidden[row, found[row] == centre]
            assert own.all() or not own.any()


def test_settings_by_modality_and_share_of_the_steps():
    mask = MaskConfig.parse(
        {
            "ratio": 0.5,
            "changes": [
                {"start": 0.5, "unit": "mixed", "ratio": 0.6},
                {"modality": "fmri", "unit": "channel"},
                {"start": 0.8, "modality": "fmri", "unit": "region", "fourier_unit": "component"},
            ],
        }
    )
    assert (mask.at(0.4, "eeg").unit, mask.at(0.4, "eeg").ratio) == ("patch", 0.5)
    assert (mask.at(0.5, "eeg").unit, mask.at(0.5, "meg").ratio) == ("mixed", 0.6)
    assert mask.at(0.0, "fmri").unit == "channel"
    assert (mask.at(0.9, "fmri").unit, mask.at(0.9, "fmri").fourier_unit) == ("region", "component")


def test_a_plan_follows_the_curriculum(model, make_batch):
    mtfm = MTFM(model, MaskConfig.parse({"changes": [{"start": 0.5, "unit": "segment"}]}), ObjectiveConfig())
    for progress, whole in ((0.0, False), (0.7, True)):
        plan = mtfm.plan(
            make_batch(), np.random.default_rng(0), windows=WindowRandom((0, 1), range(4)), progress=progress
        )
        segment = plan.hidden_BH[0] % 4
        assert (len(segment.unique()) == 2) == whole


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize("unit", ["patch", "segment", "channel", "region", "mixed"])
def test_every_step_of_a_plan_is_the_same_in_any_batch(model, make_batch, modality, unit):
    """Components and patches of a window, drawn by (seed, epoch, sample), in a batch of four and of two."""
    mask = MaskConfig(fourier_ratio=0.4, unit=unit, region_size=2)
    mtfm, batch = MTFM(model, mask, ObjectiveConfig()), make_batch(modality)
    rows = [2, 0]
    part = replace(
        batch,
        **{name: getattr(batch, name)[rows] for name in ("signal_BCT", "channel_mask_BC", "n_times_B")},
        interval_B=batch.interval_B[rows],
        modality_B=batch.modality_B[rows],
    )
    whole = mtfm.plan(batch, np.random.default_rng(0), windows=WindowRandom((5, 0), [10, 11, 12, 13]))
    cut = mtfm.plan(part, np.random.default_rng(1), windows=WindowRandom((5, 0), [12, 10]))
    for row, other in enumerate(rows):
        own, same = cut.hidden_BH[row, cut.hidden_mask_BH[row]], whole.hidden_BH[other, whole.hidden_mask_BH[other]]
        assert torch.equal(own, same)
    torch.testing.assert_close(cut.seen_BNS, whole.seen_BNS[rows])
