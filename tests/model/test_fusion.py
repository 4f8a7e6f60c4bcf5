from __future__ import annotations

import pytest
import torch

from brainof.errors import ConfigError, RecordingError
from brainof.model.fusion import FusedBrainOF, PairedBatch, drop_modalities


@pytest.fixture
def paired(make_batch):
    """Five windows: 0, 1, 3 have both; 2 lacks fMRI; 4 lacks EEG."""
    both = PairedBatch.complete(
        eeg=double(make_batch("eeg", windows=5)), fmri=double(make_batch("fmri", windows=5, channels=7, patches=1))
    )
    lost = {"fmri": torch.tensor([0, 0, 1, 0, 0]) == 1, "eeg": torch.tensor([0, 0, 0, 0, 1]) == 1}
    return both, both.without(lost)


def double(batch):
    from dataclasses import replace

    return replace(batch, signal_BCT=batch.signal_BCT.double())


def in_turn(model, sides):
    latents = None
    for side in sides:
        latents = model.encode(model.tokens(side), start_BLD=latents)
    return latents


@pytest.mark.parametrize("order", [("eeg", "fmri"), ("fmri", "eeg")])
def test_complete_pairs_are_fused_one_after_the_other(debug, paired, order):
    """Second method: the tokens, one side after the other; and the order matters."""
    model, (both, _) = debug(), paired
    expected = in_turn(model, [both.batches[name] for name in order])
    found = FusedBrainOF(model, order).forward_features(both)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    other = FusedBrainOF(model, order[::-1]).forward_features(both)
    assert (found - other).abs().max() > 1e-3


def test_windows_that_lack_a_modality_are_those_of_the_other_alone(debug, paired):
    """Second method: each window by itself, over what it has."""
    model, (_, some) = debug(), paired
    found = FusedBrainOF(model, ("eeg", "fmri")).forward_features(some)
    for window in range(5):
        sides = []
        for name in ("eeg", "fmri"):
            row = (some.places[name] == window).nonzero()[:, 0]
            if len(row):
                sides.append(some.batches[name].take_windows(row))
        assert len(sides) == (1 if window in (2, 4) else 2)
        torch.testing.assert_close(found[window], in_turn(model, sides)[0], rtol=0, atol=1e-12)


def test_three_modalities_and_gradients_to_all(debug, make_batch):
    model = debug().train()
    batch = PairedBatch.complete(**{name: double(make_batch(name, channels=4)) for name in ("eeg", "meg", "fmri")})
    leaves = {name: part.signal_BCT.requires_grad_() for name, part in batch.batches.items()}
    FusedBrainOF(model, ("meg", "fmri", "eeg")).forward_features(batch).square().sum().backward()
    assert all(leaf.grad is not None and leaf.grad.abs().max() > 0 for leaf in leaves.values())


def test_modality_dropout_leaves_every_window_something(paired):
    both, some = paired
    generator = torch.Generator().manual_seed(0)
    counts = {"eeg": 0, "fmri": 0}
    for _ in range(200):
        for batch, full in (
            (drop_modalities(both, 0.4, generator), both),
            (drop_modalities(some, 0.4, generator), some),
        ):
            present = torch.stack([batch.present().get(n, torch.zeros(5, dtype=torch.bool)) for n in ("eeg", "fmri")])
            assert present.any(0).all()
            before = torch.stack([full.present()[name] for name in ("eeg", "fmri")])
            assert not (present & ~before).any()
            if full is both:
                counts["eeg"] += int((~present[0]).sum())
                counts["fmri"] += int((~present[1]).sum())
    total = 200 * 5
    assert counts["eeg"] / total == pytest.approx(0.2, abs=0.04)
    assert counts["fmri"] / total == pytest.approx(0.2, abs=0.04)


def test_dropout_and_order_are_for_training_only(debug, paired):
    model, (both, _) = debug(), paired
    fused = FusedBrainOF(model, ("eeg", "fmri"), modality_dropout=0.9, any_order=True)
    plain = FusedBrainOF(model, ("eeg", "fmri")).forward_features(both)
    torch.testing.assert_close(fused.eval().forward_features(both), plain)
    torch.manual_seed(0)
    assert (fused.train().forward_features(both) - plain).abs().max() > 1e-3


def test_a_head_and_groups_are_those_of_the_model(debug, paired):
    model, (both, some) = debug(), paired
    fused = FusedBrainOF(model, ("eeg", "fmri")).reset_head(3)
    model.double()
    assert fused(some).shape == (5, 3)
    grouped = sum(len(group["params"]) for group in fused.parameter_groups())
    assert grouped == len(list(fused.parameters()))
    assert fused.pool(fused.forward_features(both), "mean").shape == (5, model.config.dim)


def test_wrong_pairs_are_refused(debug, make_batch, paired):
    model, (both, _) = debug(), paired
    with pytest.raises(ConfigError, match=r"\[2, 3\] windows"):
        PairedBatch.complete(eeg=make_batch("eeg", windows=2), fmri=make_batch("fmri", windows=3))
    with pytest.raises(ConfigError, match="window 1: has no modality"):
        both.without({name: torch.arange(5) == 1 for name in ("eeg", "fmri")})
    with pytest.raises(ConfigError, match="order: .'fmri'. is not"):
        FusedBrainOF(model, ("eeg",)).forward_features(both)
    with pytest.raises(ConfigError, match="name each modality once"):
        FusedBrainOF(model, ("eeg", "eeg"))


@pytest.mark.parametrize("field", ["signal", "channel_mask"])
def test_a_side_that_cannot_be_read_is_refused_by_field(debug, make_batch, field):
    sides = {name: double(make_batch(name)) for name in ("eeg", "fmri")}
    if field == "signal":
        sides["fmri"].signal_BCT[1, 2, 5] = torch.nan
    else:
        sides["fmri"].channel_mask_BC[1] = False
    with pytest.raises(RecordingError, match=rf"{field}: .*window 1"):
        FusedBrainOF(debug(), ("eeg", "fmri")).forward_features(PairedBatch.complete(**sides))
