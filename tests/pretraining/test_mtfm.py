from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainof.errors import ConfigError, RecordingError
from brainof.model import BrainOF
from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.masks import WindowRandom
from brainof.pretraining.mtfm import MTFM

SECOND_ORDER = {
    "tokens": {"connectivity": True},
    "decoder": {"outputs": ["waveform", "log_spectrum", "connectivity"]},
}


def objective(model, **mask) -> MTFM:
    return MTFM(model, MaskConfig(**mask), ObjectiveConfig())


def plan_of(mtfm, batch, seed=0, **options):
    return mtfm.plan(batch, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("modality", ["eeg", "meg", "fmri"])
def test_plan_is_a_function_of_the_generator(model, make_batch, modality):
    mtfm, batch = objective(model), make_batch(modality)
    one, two, other = (plan_of(mtfm, batch, seed, max_tokens=16, min_channels=0.5) for seed in (1, 1, 2))
    assert torch.equal(one.visible_BV, two.visible_BV)
    assert torch.equal(one.seen_BNS, two.seen_BNS)
    assert one.hidden_BH.shape != other.hidden_BH.shape or not torch.equal(one.hidden_BH, other.hidden_BH)


def test_visible_and_hidden_split_the_valid_patches(model, make_batch):
    batch = make_batch(lengths=(256, 100, 64))
    batch.channel_mask_BC[0, 2] = False
    plan = plan_of(objective(model), batch)
    n_valid = []
    for row in range(3):
        visible = plan.visible_BV[row, plan.visible_mask_BV[row]].tolist()
        hidden = plan.hidden_BH[row, plan.hidden_mask_BH[row]].tolist()
        assert not {*visible} & {*hidden}
        n_valid.append(len({*visible, *hidden}))
        for place, token in enumerate(hidden):
            # the second window ends inside its second patch
            expected = 36 if row == 1 and token % 4 == 1 else 64
            assert plan.sample_mask_BHS[row, place].sum() == expected
            assert plan.full_BH[row, place] == (expected == 64)
    assert n_valid == [5 * 4, 6 * 2, 6 * 1]
    assert plan.n_hidden == plan.hidden_mask_BH.sum()
    assert not plan.sample_mask_BHS[~plan.hidden_mask_BH].any()


def test_fourier_masks_change_what_is_seen_and_never_the_target(model, make_batch):
    for modality in ("eeg", "fmri"):
        batch = make_batch(modality)
        plan = plan_of(objective(model, fourier_ratio=0.5), batch, fourier=True)
        clean = batch.signal_BCT.reshape(plan.seen_BNS.shape)
        assert (plan.seen_BNS - clean).abs().mean() > 0.05
        expected = clean.gather(1, plan.hidden_BH[..., None].expand(-1, -1, 64))
        assert torch.equal(plan.target_BHS, expected)
        assert torch.equal(plan_of(objective(model), batch, fourier=False).seen_BNS, clean)


def test_a_token_budget_takes_channels_with_their_identity(model, make_batch):
    batch = make_batch(n_channels=10)
    plan = plan_of(objective(model), batch, fourier=False, max_tokens=16)
    assert plan.batch.signal_BCT.shape[1] == 4
    for kept in range(4):
        original = (batch.sensors.position_BC3[0] == plan.batch.sensors.position_BC3[0, kept]).all(-1).nonzero().item()
        assert torch.equal(plan.batch.signal_BCT[:, kept], batch.signal_BCT[:, original])


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
def test_hidden_patches_never_reach_the_encoder(model, make_batch, modality):
    batch = make_batch(modality)
    mtfm = objective(model.eval())
    plan = plan_of(mtfm, batch, fourier=False)
    before, _ = mtfm.encode(plan)
    plan.seen_BNS.scatter_(1, plan.hidden_BH[..., None].expand(-1, -1, 64), 1e3)
    after, _ = mtfm.encode(plan)
    assert torch.equal(before, after)


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize("frequency", ["log_spectrum", "raw"])
def test_loss_and_gradients_are_the_same_however_a_batch_is_cut(make_batch, modality, frequency):
    """One plan, its parts, and windows of unequal length planned one by one: all divided by one count of patches."""
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **SECOND_ORDER).double().eval()
    mtfm = MTFM(model, MaskConfig(), ObjectiveConfig(frequency=frequency, second_order=0.5))
    batch = make_batch(modality, lengths=(256, 256, 100, 192))
    batch.channel_mask_BC[1, 2] = False
    whole = mtfm.plan(batch, np.random.default_rng(0), windows=WindowRandom((0, 0), range(4)))
    ones = []
    for row in range(4):
        window = batch.take_windows(torch.tensor([row]))
        length = -(-int(batch.n_times_B[row]) // 64) * 64
        window = replace(window, signal_BCT=window.signal_BCT[:, :, :length])
        ones.append(mtfm.plan(window, np.random.default_rng(row), windows=WindowRandom((0, 0), [row])))
    found = []
    for plans in ([whole], whole.split(3), ones):
        model.zero_grad()
        assert sum(plan.n_hidden for plan in plans) == whole.n_hidden
        losses = [mtfm.total(mtfm.sums(plan)) / whole.n_hidden for plan in plans]
        for loss in losses:
            loss.backward()
        found.append((sum(losses).item(), [p.grad for p in model.parameters()]))
    for value, gradients in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-6)  # losses are float32
        for a, b in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("modality", ["eeg", "fmri"])
@pytest.mark.parametrize("frequency", ["log_spectrum", "raw"])
def test_bad_channels_and_padding_may_hold_anything(make_batch, modality, frequency):
    torch.manual_seed(0)
    model = BrainOF.from_preset("debug", **SECOND_ORDER).eval()
    mtfm = MTFM(model, MaskConfig(fourier_ratio=0.5), ObjectiveConfig(frequency=frequency, second_order=0.5))
    totals = []
    for filler in (0.0, torch.nan):
        batch = make_batch(modality, lengths=(256, 256, 100))
        batch.channel_mask_BC[1, 2] = False
        batch.signal_BCT[1, 2] = filler
        batch.signal_BCT[2, :, 100:] = filler
        totals.append(mtfm.total(mtfm.sums(plan_of(mtfm, batch))))
    assert totals[0].isfinite()
    assert totals[1] == totals[0]


@pytest.mark.parametrize("unit", ["patch", "region"])
@pytest.mark.parametrize("field", ["channels", "channel_mask", "signal", "n_times", "whole number of patches"])
def test_unreadable_batches_are_refused_before_anything_is_hidden(model, make_batch, unit, field):
    batch = make_batch()
    if field == "channels":
        batch = batch.take_channels(torch.tensor([], dtype=torch.int64))
    elif field == "channel_mask":
        batch.channel_mask_BC[1] = False
    elif field == "signal":
        batch.signal_BCT[1, 2, 70] = torch.nan
    elif field == "n_times":
        batch.n_times_B[0] = 0
    else:
        batch = replace(batch, signal_BCT=batch.signal_BCT[..., :-1])
    with pytest.raises(RecordingError, match=field):
        plan_of(objective(model, unit=unit), batch)


def test_the_interpolating_sampler_is_trained_on_the_same_objective(make_batch):
    model = BrainOF.from_preset("debug", sampler={"kind": "interpolate", "interpolate_channels": 4})
    mtfm = objective(model)
    sums = mtfm.sums(plan_of(mtfm, make_batch(lengths=(256, 100))))
    mtfm.total(sums).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.decoders[0].ffn.down.weight.grad.abs().max() > 0


@pytest.mark.parametrize("frequency", ["log_spectrum", "raw", "none"])
def test_every_objective_reaches_all_weights_it_should(model, make_batch, frequency):
    mtfm = MTFM(model, MaskConfig(), ObjectiveConfig(frequency=frequency))
    plan = plan_of(mtfm, make_batch())
    sums = mtfm.sums(plan)
    (mtfm.combine(sums.time, sums.frequency) / sums.n_hidden).backward()
    assert torch.isfinite(sums.time)
    assert (sums.frequency.item() == 0) == (frequency == "none")
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    unused = ["identity.unlocated_D"]  # all positions are known here
    if frequency != "log_spectrum":
        unused += [f"decoders.0.heads.linears.1.{name}" for name in ("weight", "bias")]
    assert silent == unused


def test_an_objective_whose_output_the_model_has_not_is_refused(model):
    with pytest.raises(ConfigError, match="needs the output 'connectivity', but the model has only"):
        MTFM(model, MaskConfig(), ObjectiveConfig(second_order=1.0))
