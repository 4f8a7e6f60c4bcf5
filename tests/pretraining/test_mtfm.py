from __future__ import annotations

import numpy as np
import pytest
import torch

from brainof.pretraining.config import MaskConfig, ObjectiveConfig
from brainof.pretraining.mtfm import MTFM


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


def test_sums_normalise_alike_however_a_batch_is_cut(model, make_batch):
    """Two halves, summed and divided by their joint count, equal the whole."""
    batch = make_batch(n_windows=4)
    mtfm = objective(model.eval())
    plan = plan_of(mtfm, batch, fourier=False)
    whole = mtfm.sums(plan)
    parts = []
    for rows in (slice(0, 1), slice(1, 4)):
        part = make_batch(n_windows=4)
        cut = type(plan)(
            batch=type(part)(
                signal_BCT=batch.signal_BCT[rows],
                sensors=batch.sensors,
                channel_mask_BC=batch.channel_mask_BC[rows],
                n_times_B=batch.n_times_B[rows],
                interval_B=batch.interval_B[rows],
                modality_B=batch.modality_B[rows],
            ),
            **{name: getattr(plan, name)[rows] for name in list(plan.__dataclass_fields__)[1:]},
        )
        parts.append(mtfm.sums(cut))
    assert sum(part.n_hidden for part in parts) == whole.n_hidden
    for name in ("time", "frequency"):
        total = sum(getattr(part, name).item() for part in parts)
        np.testing.assert_allclose(total, getattr(whole, name).item(), rtol=1e-4)


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
