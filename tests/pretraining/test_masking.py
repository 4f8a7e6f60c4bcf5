"""Masked batches: per window, per modality, per fraction of the steps; padding, regions and bad channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainof.errors import RecordingError
from brainof.pretraining.config import MaskConfig
from brainof.pretraining.masking import Masking, Planner, choose_channels
from brainof.pretraining.masks import WindowRandom, hide_patches, regions


def seen(batch, mask, windows):
    """What the encoder may look at, (B, C, T)."""
    return Masking(mask, 64).plan(batch, np.random.default_rng(0), windows=windows).seen_BCT


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
    together = seen(batch, mask, WindowRandom((0,), [7, 8, 9]))
    own = replace(
        batch,
        signal_BCT=batch.signal_BCT[1:2, :, :192],
        n_times_B=batch.n_times_B[1:2],
        interval_B=batch.interval_B[1:2],
        channel_mask_BC=batch.channel_mask_BC[1:2],
        modality_B=batch.modality_B[1:2],
    )
    alone = seen(own, mask, WindowRandom((0,), [8]))
    torch.testing.assert_close(together[1, :, :150], alone[0, :, :150])
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
    together = seen(batch, mask, WindowRandom((seed,), rows.tolist()))
    before, after = (torch.fft.rfft(signal.double()).abs() for signal in (batch.signal_BCT, together))
    for row, rate in enumerate(rates):
        alone = seen(batch.take_windows(rows[row : row + 1]), mask, WindowRandom((seed,), [row]))
        assert torch.equal(together[row], alone[0])
        gone_hz = torch.arange(129)[(after[row] < before[row] / 2).all(0)] * rate / 256
        assert len(gone_hz) > 0
        assert gone_hz.max() <= mask.fourier_max_hz


def test_regions_are_transformed_in_atlas_order_whatever_the_table_says(make_batch):
    batch = make_batch("fmri", n_channels=12)
    batch.channel_mask_BC[:, 4] = False
    batch.signal_BCT[:, 4] = 1e3  # a bad region may hold anything
    mask = MaskConfig(fourier_ratio=0.5)
    expected = seen(batch, mask, WindowRandom((0,), range(4)))
    assert expected.abs().max() < 100  # nothing of it leaks
    assert (expected[:, 4] == 0).all()
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(12))
    found = seen(batch.take_channels(shuffled), mask, WindowRandom((0,), range(4)))
    torch.testing.assert_close(found, expected[:, shuffled], atol=1e-5, rtol=1e-5)
    masked = Masking(mask, 64).plan(batch.take_channels(shuffled), np.random.default_rng(0))
    assert torch.equal(masked.place_BC[0], shuffled)


@pytest.mark.parametrize("located", [True, False])
def test_regions_are_neighbourhoods(make_batch, located):
    batch = make_batch("fmri", n_channels=20)
    sensors = batch.sensors
    if not located:
        batch = replace(batch, sensors=replace(sensors, located_BC=torch.zeros_like(sensors.located_BC)))
    mask, good = MaskConfig(unit="region", region_size=5, fourier_ratio=0), np.ones((4, 20), bool)
    masked = Masking(mask, 64).plan(batch, np.random.default_rng(0), windows=WindowRandom((0,), range(4)))
    place = sensors.position_BC3[0].numpy() if located else np.arange(20.0)[:, None]
    draw = WindowRandom((0,), range(4))
    found = regions(place[None], good, 5, draw)
    for row in found:
        centres = np.unique(row)
        assert len(centres) == 4
        nearest = ((place[:, None] - place[centres]) ** 2).sum(-1)
        assert (row == centres[nearest.argmin(1)]).all()
    hidden = hide_patches(np.ones((4, 20, 4), bool), 0.5, "region", draw, found)
    assert torch.equal(masked.predicted_BH[0, masked.predicted_mask_BH[0]], torch.from_numpy(np.flatnonzero(hidden[0])))
    for row in range(4):
        for centre in np.unique(found[row]):
            own = hidden[row, found[row] == centre]
            assert own.all() or not own.any()


def test_settings_by_modality_and_fraction_of_the_steps():
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


def test_a_masked_batch_follows_the_curriculum(make_batch):
    """At the start, half-way and at the end: Fourier masks and units as the recipe says, and the fraction hidden."""
    changes = [{"start": 0.5, "unit": "segment"}, {"start": 0.9, "ratio": 0.75}]
    masking = Masking(MaskConfig.parse({"fourier_start": 0.5, "changes": changes}), 64)
    for progress, fourier, whole, n in ((0.0, 0, 0, 12), (0.49, 0, 0, 12), (0.5, 1, 1, 12), (1.0, 1, 1, 18)):
        windows = WindowRandom((0, 1), range(4))
        masked = masking.plan(make_batch(), np.random.default_rng(0), windows=windows, progress=progress)
        assert (masked.seen_BCT is not None) == fourier
        assert masked.predicted_mask_BH.sum(1).tolist() == [n] * 4
        assert masked.n_predicted == 4 * n
        assert (len((masked.predicted_BH[0] % 4).unique()) == n // 6) == whole


def test_mixed_is_patches_in_some_windows_and_segments_in_the_others(make_batch):
    masked = Masking(MaskConfig(unit="mixed"), 64).plan(make_batch(n_windows=40), np.random.default_rng(0))
    segments = [len((tokens % 4).unique()) == 2 for tokens in masked.predicted_BH]
    assert 10 < sum(segments) < 30


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize("unit", ["patch", "segment", "channel", "region", "mixed"])
def test_a_window_is_masked_the_same_in_any_batch(make_batch, modality, unit):
    """Components and patches of a window, drawn by (seed, epoch, sample), in a batch of four and of two."""
    mask = MaskConfig(fourier_ratio=0.4, unit=unit, region_size=2)
    masking, batch = Masking(mask, 64), make_batch(modality)
    rows = [2, 0]
    part = batch.take_windows(torch.tensor(rows))
    whole = masking.plan(batch, np.random.default_rng(0), windows=WindowRandom((5, 0), [10, 11, 12, 13]))
    cut = masking.plan(part, np.random.default_rng(1), windows=WindowRandom((5, 0), [12, 10]))
    for row, other in enumerate(rows):
        own = cut.predicted_BH[row, cut.predicted_mask_BH[row]]
        assert torch.equal(own, whole.predicted_BH[other, whole.predicted_mask_BH[other]])
    torch.testing.assert_close(cut.seen_BCT, whole.seen_BCT[rows])


@pytest.mark.parametrize("modality", ["eeg", "meg", "fmri"])
def test_a_masked_batch_is_a_function_of_the_generator(make_batch, modality):
    masking, batch = Masking(MaskConfig(), 64, max_tokens=16, min_channels=0.5), make_batch(modality)
    one, two, other = (masking.plan(batch, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.visible_BV, two.visible_BV)
    assert torch.equal(one.seen_BCT, two.seen_BCT)
    assert one.predicted_BH.shape != other.predicted_BH.shape or not torch.equal(one.predicted_BH, other.predicted_BH)


def test_visible_and_hidden_split_the_valid_patches(make_batch):
    batch = make_batch(lengths=(256, 100, 64))
    batch.channel_mask_BC[0, 2] = False
    hidden, everything = (
        Masking(MaskConfig(), 64, predict=predict).plan(batch, np.random.default_rng(0))
        for predict in ("hidden", "all")
    )
    n_valid = []
    for row in range(3):
        visible = hidden.visible_BV[row, hidden.visible_mask_BV[row]].tolist()
        predicted = hidden.predicted_BH[row, hidden.predicted_mask_BH[row]].tolist()
        assert not {*visible} & {*predicted}
        assert sorted(visible + predicted) == everything.predicted_BH[row, everything.predicted_mask_BH[row]].tolist()
        n_valid.append(len({*visible, *predicted}))
    assert n_valid == [5 * 4, 6 * 2, 6 * 1]
    assert torch.equal(hidden.visible_BV, everything.visible_BV)
    assert (hidden.n_predicted, everything.n_predicted) == (hidden.predicted_mask_BH.sum(), sum(n_valid))


def test_fourier_masks_change_what_is_seen_and_never_the_signal(make_batch):
    for modality in ("eeg", "fmri"):
        batch = make_batch(modality)
        masking = Masking(MaskConfig(fourier_ratio=0.5), 64)
        masked = masking.plan(batch, np.random.default_rng(0))
        assert (masked.seen_BCT - batch.signal_BCT).abs().mean() > 0.05
        assert torch.equal(masked.batch.signal_BCT, batch.signal_BCT)
        assert masking.plan(batch, np.random.default_rng(0), fourier=False).seen_BCT is None


def test_fourier_masks_come_before_channels_are_left_out(make_batch):
    """The transform of fMRI runs over all regions of the atlas, also over those that the batch does not keep."""
    batch = make_batch("fmri", n_channels=12)
    windows = [WindowRandom((0,), range(4)) for _ in range(2)]
    whole = Masking(MaskConfig(fourier_ratio=0.5), 64).plan(batch, np.random.default_rng(0), windows=windows[0])
    part = Masking(MaskConfig(fourier_ratio=0.5), 64, max_tokens=16).plan(
        batch, np.random.default_rng(0), windows=windows[1]
    )
    assert part.batch.signal_BCT.shape[1] == 4
    assert part.n_places == 12
    for row in range(4):
        torch.testing.assert_close(part.seen_BCT[row], whole.seen_BCT[row, part.place_BC[row]])


def test_a_token_budget_takes_channels_with_their_identity(make_batch):
    batch = make_batch(n_channels=10)
    masked = Masking(MaskConfig(), 64, max_tokens=16).plan(batch, np.random.default_rng(0), fourier=False)
    assert masked.batch.signal_BCT.shape[1] == 4
    for kept in range(4):
        position = masked.batch.sensors.position_BC3[0, kept]
        original = (batch.sensors.position_BC3[0] == position).all(-1).nonzero().item()
        assert torch.equal(masked.batch.signal_BCT[:, kept], batch.signal_BCT[:, original])


def test_channels_that_are_good_everywhere_come_first():
    good = np.ones((5, 8), bool)
    good[2, [1, 4, 6]] = False
    for seed in range(20):
        chosen = choose_channels(good, np.full(5, 4), 5, np.random.default_rng(seed))
        assert chosen.tolist() == [0, 2, 3, 5, 7]


def test_windows_keep_good_channels_of_their_own_where_they_cannot_share_them(make_batch):
    """Eight electrodes, each window another three bad, a budget of two: no choice for all leaves each two good ones."""
    batch = make_batch(n_channels=8, lengths=(64,) * 8)
    for row in range(8):
        batch.channel_mask_BC[row, [(row + k) % 8 for k in range(3)]] = False
    masking = Masking(MaskConfig(), 64, max_tokens=2)
    masked = masking.plan(batch, np.random.default_rng(0), fourier=False)
    assert masked.skipped == 0
    assert masked.batch.channel_mask_BC.all()
    assert masked.batch.signal_BCT.shape == (8, 2, 64)
    for row in range(8):
        for kept in range(2):
            position = masked.batch.sensors.position_BC3[row, kept]
            original = (batch.sensors.position_BC3[0] == position).all(-1).nonzero().item()
            assert torch.equal(masked.batch.signal_BCT[row, kept], batch.signal_BCT[row, original])
            assert masked.place_BC[row, kept] == original or batch.modality != "fmri"


def test_windows_without_two_good_patches_are_skipped_and_counted(make_batch):
    batch = make_batch(n_windows=4)
    batch.channel_mask_BC[1] = False
    batch.signal_BCT[1] = torch.nan  # nobody looks at it
    masked = Masking(MaskConfig(), 64).plan(batch, np.random.default_rng(0), windows=WindowRandom((0,), range(4)))
    assert (len(masked.batch), masked.skipped) == (3, 1)
    rest = batch.take_windows(torch.tensor([0, 2, 3]))
    alone = Masking(MaskConfig(), 64).plan(rest, np.random.default_rng(0), windows=WindowRandom((0,), [0, 2, 3]))
    assert torch.equal(masked.predicted_BH, alone.predicted_BH)
    batch.channel_mask_BC[:] = False
    assert Masking(MaskConfig(), 64).plan(batch, np.random.default_rng(0)) is None


@pytest.mark.parametrize("field", ["channels", "signal", "whole number of patches"])
def test_unreadable_batches_are_refused_before_anything_is_hidden(make_batch, field):
    batch = make_batch()
    if field == "channels":
        batch = batch.take_channels(torch.tensor([], dtype=torch.int64))
    elif field == "signal":
        batch.signal_BCT[1, 2, 70] = torch.nan
    else:
        batch = replace(batch, signal_BCT=batch.signal_BCT[..., :-1])
    with pytest.raises(RecordingError, match=field):
        Masking(MaskConfig(unit="region"), 64).plan(batch, np.random.default_rng(0))


def test_a_masked_batch_hides_slices_and_blocks_of_the_recipe(make_batch):
    """Slices of regions that follow each other in the atlas, through the window; neighbourhoods x stretches of time."""
    order = torch.from_numpy(np.random.default_rng(1).permutation(12))
    batch = make_batch("fmri", n_channels=12)
    batch = replace(batch, sensors=replace(batch.sensors, order_BC=order[None]))

    def hidden(**mask):
        config = MaskConfig(ratio=0.5, fourier_ratio=0, region_size=3, **mask)
        masked = Masking(config, 64).plan(batch, np.random.default_rng(0), windows=WindowRandom((0,), range(4)))
        found = torch.zeros(4, 12 * 4).scatter_add(1, masked.predicted_BH, masked.predicted_mask_BH.float())
        return found.reshape(4, 12, 4) > 0

    cuts = set()
    for row in hidden(unit="slice"):
        assert (row == row[:, :1]).all()
        ranked = row[order.argsort(), 0]
        changes = (torch.nonzero(ranked[1:] != ranked[:-1])[:, 0] + 1).tolist()
        assert len({change % 3 for change in changes}) == 1  # all cuts are 3 regions apart
        cuts.add(changes[0] % 3)
    assert len(cuts) > 1
    pairs = hidden(unit="block", block_patches=2)
    assert torch.equal(pairs[..., 0], pairs[..., 1])
    assert torch.equal(pairs[..., 2], pairs[..., 3])
    assert not torch.equal(pairs[..., 1], pairs[..., 2])
    place = batch.sensors.position_BC3[0]
    near = (place[:, None] - place).square().sum(-1).fill_diagonal_(torch.inf).argmin(1)
    assert (pairs == pairs[:, near]).float().mean() > 0.75  # by chance half of them
    whole = hidden(unit="block", block_patches=4)
    assert (whole == whole[..., :1]).all()


def test_the_planner_follows_the_steps_of_the_run(make_batch):
    """Two batches a step, four an epoch, four steps: the second half of the steps is the second epoch."""
    mask = MaskConfig.parse({"ratio": 0.25, "fourier_start": 0.5, "changes": [{"start": 0.75, "ratio": 0.75}]})
    planner = Planner(Masking(mask, 64), None, 0, 4, 2, 4)  # type: ignore[arg-type]
    batch = replace(make_batch(), rows=(0, 1, 2, 3))
    planned = [planner(batch, epoch, number) for epoch in range(2) for number in range(4)]
    assert [masked.seen_BCT is not None for masked in planned] == [False] * 4 + [True] * 4
    assert [masked.n_predicted for masked in planned] == [4 * 6] * 6 + [4 * 18] * 2
    shares = [replace(planner, part=part, parts=2)(batch, 1, 0) for part in range(2)]
    for part, masked in enumerate(shares):
        assert masked.batch.rows == (part, part + 2)
        assert torch.equal(masked.predicted_BH, planned[4].predicted_BH[part::2])
